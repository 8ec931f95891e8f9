package libvirt

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

const gib = 1 << 30

func TestHostsChooses(t *testing.T) {
	a, b := &Backend{opts: Options{Name: "a"}}, &Backend{opts: Options{Name: "b"}}
	away := errors.ErrLibvirtConnection
	want := claim{memory: gib, vcpus: 2}
	for name, tc := range map[string]struct {
		a, b offer
		best *Backend
	}{
		"the only one with room":     {offer{memory: gib - 1, cpus: 64}, offer{memory: gib, cpus: 1}, b},
		"fewer guests":               {offer{memory: 9 * gib, cpus: 8, vcpus: 8}, offer{memory: 2 * gib, cpus: 8, vcpus: 4}, b},
		"more processors":            {offer{memory: 9 * gib, cpus: 16, vcpus: 8}, offer{memory: 9 * gib, cpus: 8, vcpus: 5}, a},
		"more memory":                {offer{memory: 2 * gib, cpus: 8}, offer{memory: 3 * gib, cpus: 8}, b},
		"equal: the first":           {offer{memory: gib, cpus: 8}, offer{memory: gib, cpus: 8}, a},
		"does not answer":            {offer{err: away}, offer{memory: gib, cpus: 1, vcpus: 9}, b},
		"none":                       {offer{memory: gib / 2}, offer{memory: 0}, nil},
		"more vCPUs than processors": {offer{memory: gib, cpus: 1, vcpus: 4}, offer{memory: gib, cpus: 1, vcpus: 5}, a},
	} {
		tc.a.backend, tc.b.backend = a, b
		best := choose([]offer{tc.a, tc.b}, want)
		if tc.best == nil {
			require.Nil(t, best, name)
			continue
		}
		require.NotNil(t, best, name)
		require.Same(t, tc.best, best.backend, name)
	}
}

func TestHostsRemembersWhatItPromised(t *testing.T) {
	a, b := &Backend{opts: Options{Name: "a"}}, &Backend{opts: Options{Name: "b"}}
	p := NewHosts(a, b)
	later := time.Now().Add(time.Hour)
	p.pending = map[string]claim{
		"new":   {host: a, memory: gib, vcpus: 3, until: later},
		"runs":  {host: b, memory: gib, vcpus: 3, until: later},
		"lost":  {host: b, memory: gib, vcpus: 3, until: time.Now().Add(-time.Second)},
		"again": {host: b, memory: gib, vcpus: 3, until: later},
	}
	offers := []offer{{backend: a, memory: 4 * gib}, {backend: b, memory: 4 * gib, guests: map[string]bool{"runs": true}}}
	p.subtract(offers, "again")
	require.EqualValues(t, 3*gib, offers[0].memory)
	require.Equal(t, 3, offers[0].vcpus)
	require.EqualValues(t, 4*gib, offers[1].memory)
	require.Len(t, p.pending, 1)
}

// TestHostsOnRealHosts places VMs on two libvirtd, of which one goes away.
func TestHostsOnRealHosts(t *testing.T) {
	one, two := daemon.Get(t), libvirttest.Start(t)
	var hosts []*Backend
	for name, d := range map[string]*libvirttest.Daemon{"one": one, "two": two} {
		b, err := New(Options{URI: d.URI(), Name: name, LogDir: t.TempDir()})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		hosts = append(hosts, b)
	}
	p := NewHosts(hosts...)
	place := func(cfg vm.Config) (string, error) {
		return p.Place(t.Context(), vm.Instance{ID: uuid.NewString(), Name: "placed", Config: cfg})
	}
	names := map[string]int{}
	for range 4 {
		name, err := place(vm.Config{})
		require.NoError(t, err)
		names[name]++
	}
	require.Equal(t, map[string]int{"one": 2, "two": 2}, names, "what was promised counts")

	_, err := place(vm.Config{Memory: 1 << 50})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "one: has ")
	require.ErrorContains(t, err, "two: has ")

	require.NoError(t, two.Stop())
	for range 2 {
		name, err := place(vm.Config{})
		require.NoError(t, err)
		require.Equal(t, "one", name)
	}
	p.hosts = slices.DeleteFunc(p.hosts, func(b *Backend) bool { return b.opts.Name == "one" })
	p.pending = map[string]claim{}
	_, err = place(vm.Config{})
	require.ErrorIs(t, err, errors.ErrHostUnreachable)
}
