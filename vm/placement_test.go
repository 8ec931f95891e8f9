package vm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestPlacedWhereThePlacerSays(t *testing.T) {
	h := newHosts(t)
	h.place = func(inst vm.Instance) (string, error) {
		require.Equal(t, "any", inst.Config.Backend)
		return "b", nil
	}
	inst, err := h.Add(t.Context(), vm.Config{Name: "guest", Backend: "any"})
	require.NoError(t, err)
	require.Empty(t, inst.Host, "nothing is placed before it starts")
	inst, err = h.Start(t.Context(), "guest")
	require.NoError(t, err)
	require.Equal(t, "b", inst.Host)
	require.NotNil(t, h.b.guest(inst.ID))
	again, err := h.Apply(t.Context(), vm.Config{Name: "guest", Backend: "any"})
	require.NoError(t, err)
	require.Equal(t, inst.Version, again.Version, "the same configuration changes nothing")

	// Nothing of it lasts: the next start may be anywhere, and where it was it is forgotten.
	_, err = h.Stop(t.Context(), "guest")
	require.NoError(t, err)
	h.place = func(vm.Instance) (string, error) { return "a", nil }
	inst, err = h.Start(t.Context(), "guest")
	require.NoError(t, err)
	require.Equal(t, "a", inst.Host)
	require.NotNil(t, h.a.guest(inst.ID))
	require.Equal(t, 1, h.b.erased[inst.ID])
}

func TestStaysWhereItsDisksAre(t *testing.T) {
	h := newHosts(t)
	h.place = func(vm.Instance) (string, error) { return "b", nil }
	cfg := vm.Config{Name: "guest", Backend: "any", Lifetime: vm.Persistent, Disks: []vm.Disk{{Size: vm.MiB}}}
	_, err := h.Add(t.Context(), cfg)
	require.NoError(t, err)
	_, err = h.Start(t.Context(), "guest")
	require.NoError(t, err)
	_, err = h.Stop(t.Context(), "guest")
	require.NoError(t, err)
	h.place = func(vm.Instance) (string, error) { return "", errors.New("must not be asked") }
	inst, err := h.Start(t.Context(), "guest")
	require.NoError(t, err)
	require.Equal(t, "b", inst.Host)

	_, err = h.Stop(t.Context(), "guest")
	require.NoError(t, err)
	cfg.Backend = "a"
	_, err = h.Apply(t.Context(), cfg)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "another one than b, where the VM's disks are")
	for _, same := range []string{"b", "any"} {
		cfg.Backend = same
		inst, err = h.Apply(t.Context(), cfg)
		require.NoError(t, err)
		inst, err = h.Start(t.Context(), "guest")
		require.NoError(t, err)
		require.NotNil(t, h.b.guest(inst.ID))
		_, err = h.Stop(t.Context(), "guest")
		require.NoError(t, err)
	}
}

// TestForgottenWhereItWas: a VM without anything that lasts can go to another backend.
func TestForgottenWhereItWas(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Name: "guest", Backend: "a", Lifetime: vm.Persistent})
	_, err := h.Stop(t.Context(), "guest")
	require.NoError(t, err)
	inst, err = h.Apply(t.Context(), vm.Config{Name: "guest", Backend: "b", Lifetime: vm.Persistent})
	require.NoError(t, err)
	require.Equal(t, "a", inst.Host, "until it starts")
	inst, err = h.Start(t.Context(), "guest")
	require.NoError(t, err)
	require.Empty(t, inst.Host)
	require.NotNil(t, h.b.guest(inst.ID))
	require.Equal(t, 1, h.a.erased[inst.ID])
}

func TestNowhereToPlace(t *testing.T) {
	h := newHosts(t)
	_, err := h.Add(t.Context(), vm.Config{Backend: "some"})
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	require.ErrorContains(t, err, "[a b process any]")

	inst, err := h.Add(t.Context(), vm.Config{Backend: "any"})
	require.NoError(t, err)
	full := errors.Wrap(errors.ErrInvalidConfiguration, "", "", errors.New("a: no memory; b: no memory"))
	h.place = func(vm.Instance) (string, error) { return "", full }
	_, err = h.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, full)
	h.place = func(vm.Instance) (string, error) { return "c", nil }
	_, err = h.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	inst, err = h.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Created, inst.State)
	_, err = h.Snapshotter(inst)
	require.ErrorContains(t, err, "on none yet")
	require.NoError(t, h.Remove(t.Context(), inst.ID))
}
