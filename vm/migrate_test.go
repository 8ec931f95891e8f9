package vm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestMigrate(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Name: "moving", Backend: "a", Lifetime: vm.Persistent})
	moved, err := h.Migrate(t.Context(), "moving", "b")
	require.NoError(t, err)
	require.Equal(t, vm.Running, moved.State)
	require.Equal(t, "b", moved.Host)
	g, err := h.Live(t.Context(), "moving")
	require.NoError(t, err)
	require.Same(t, h.b.guest(inst.ID), g.(*hostGuest).fakeGuest)
	again, err := h.Migrate(t.Context(), "moving", "b")
	require.NoError(t, err)
	require.Equal(t, moved.Version, again.Version, "it is there")

	back, err := h.Migrate(t.Context(), "moving", "a")
	require.NoError(t, err)
	require.Empty(t, back.Host, "where its configuration says")
	report, err := h.Stop(t.Context(), "moving")
	require.NoError(t, err)
	require.True(t, report.Graceful)
}

func TestMigrateRefused(t *testing.T) {
	h := newHosts(t)
	inst := h.running(t, vm.Config{Backend: "a", Lifetime: vm.Persistent})
	_, err := h.Migrate(t.Context(), inst.ID, "nowhere")
	require.ErrorIs(t, err, errors.ErrConfigValidation)

	h.b.launch = func(context.Context) error { return errors.ErrVMStart }
	_, err = h.Migrate(t.Context(), inst.ID, "b")
	require.ErrorIs(t, err, errors.ErrVMStart)
	now, err := h.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Running, now.State)
	require.Empty(t, now.Host)

	_, err = h.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	_, err = h.Migrate(t.Context(), inst.ID, "b")
	require.ErrorIs(t, err, errors.ErrVMNotRunning)

	b := newBench(t)
	stays := b.start(t, vm.Config{})
	_, err = b.Migrate(t.Context(), stays.ID, "process")
	require.NoError(t, err, "it is there")
}
