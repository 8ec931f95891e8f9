//go:build linux

package libvirt_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

// TestRemote works with a guest on the second of two hosts as if it were here: over TLS in every
// way, over the others as far as it makes a difference.
func TestRemote(t *testing.T) {
	hosts := libvirttest.StartHosts(t, 2)
	t.Run("TLS", func(t *testing.T) { wholeLife(t, hosts) })
	for _, transport := range []string{libvirttest.TCP, libvirttest.SSH} {
		t.Run(transport, func(t *testing.T) {
			m := open(t, hosts, transport)
			ctx := within(t, 5*time.Minute)
			g, err := m.Run(ctx, vm.Config{Backend: "two", Memory: 128 * vm.MiB, Accel: "tcg"})
			require.NoError(t, err)
			res, err := g.Exec(ctx, "uname", "-s")
			require.NoError(t, err)
			require.Equal(t, "Linux\n", string(res.Stdout))
			require.NoError(t, g.Remove(ctx, vm.ForceRemove()))
		})
	}
}

func wholeLife(t *testing.T, hosts []*libvirttest.Host) {
	m := open(t, hosts, libvirttest.TLS)
	ctx := within(t, 5*time.Minute)
	g, err := m.Run(ctx, vm.Config{Name: "far", Backend: "two", Lifetime: vm.Persistent, Memory: 128 * vm.MiB, Accel: "tcg",
		Disks: []vm.Disk{{Size: 64 * vm.MiB, Serial: "DATA"}}})
	require.NoError(t, err)
	inst, err := g.Instance(ctx)
	require.NoError(t, err)
	require.Equal(t, "two", inst.Runtime.Backend)
	require.NotNil(t, hosts[1].Process(t, "far"), "it is a process of that host")

	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, make([]byte, 300<<10), 0o600))
	require.NoError(t, g.CopyTo(ctx, src, "/tmp/there"))
	back := filepath.Join(t.TempDir(), "back")
	require.NoError(t, g.CopyFrom(ctx, "/tmp/there", back))
	got, err := os.ReadFile(back)
	require.NoError(t, err)
	require.Len(t, got, 300<<10)

	require.NoError(t, g.WriteFile(ctx, "/tmp/note", []byte("before"), 0o600))
	_, err = g.Snapshot(ctx, "first")
	require.NoError(t, err)
	require.NoError(t, g.WriteFile(ctx, "/tmp/note", []byte("after"), 0o600))
	require.NoError(t, g.Load(ctx, "first"))
	note, err := g.ReadFile(ctx, "/tmp/note")
	require.NoError(t, err)
	require.Equal(t, "before", string(note))

	rep, err := g.Stop(ctx)
	require.NoError(t, err)
	require.True(t, rep.Graceful, "%+v", rep)
	require.NoError(t, g.Start(ctx), "again, with the disk it had")
	require.NoError(t, g.Remove(ctx, vm.ForceRemove(), vm.DeleteImages()))
	l := hosts[1].Connect(t)
	domains, _, err := l.ConnectListAllDomains(1, 0)
	require.NoError(t, err)
	require.Empty(t, domains)
	in, err := l.StoragePoolLookupByName("maqet")
	require.NoError(t, err)
	names, err := l.StoragePoolListVolumes(in, 100)
	require.NoError(t, err)
	for _, name := range names {
		require.NotContains(t, name, inst.ID)
	}
}
