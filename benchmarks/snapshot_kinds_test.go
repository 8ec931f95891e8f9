package benchmarks

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// kinds is one guest, whose snapshots of every kind are timed.
type kinds struct {
	b    *testing.B
	m    *maqet.Maqet
	g    *maqet.Machine
	took map[string][]time.Duration
}

// BenchmarkSnapshotKinds times what docs/snapshots.md has of each kind: a guest of 256 MiB with
// one qcow2 disk, which writes 1 MiB before each operation.
func BenchmarkSnapshotKinds(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Lifetime: vm.Persistent, Memory: 256 * vm.MiB,
		Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, m.VM.Remove(context.WithoutCancel(b.Context()), g.ID(), vm.ForceRemove(), vm.DeleteImages()))
	})
	k := &kinds{b: b, m: m, g: g, took: map[string][]time.Duration{}}
	for range runs(b) {
		k.memory()
		k.external()
		k.offline()
	}
	for what, took := range k.took {
		b.ReportMetric(ms(median(took)), what+"-ms")
		b.Logf("%s %v", what, sorted(took))
	}
	b.ReportMetric(0, "ns/op")
}

// time notes how long fn took.
func (k *kinds) time(what string, fn func() error) {
	k.b.Helper()
	begun := time.Now()
	require.NoError(k.b, fn(), what)
	k.took[what] = append(k.took[what], time.Since(begun))
}

func (k *kinds) write() {
	k.b.Helper()
	_, err := k.g.Exec(k.b.Context(), "sh", "-c", "head -c 1M /dev/urandom | dd of=/dev/vda bs=1M conv=fsync 2>/dev/null")
	require.NoError(k.b, err)
}

func (k *kinds) create(name string, opts ...snapshot.Option) func() error {
	return func() error { _, err := k.g.Snapshot(k.b.Context(), name, opts...); return err }
}

func (k *kinds) memory() {
	k.write()
	conn, err := k.m.VM.QMP(k.b.Context(), k.g.ID())
	require.NoError(k.b, err)
	sub := conn.Subscribe("STOP", "RESUME")
	defer sub.Close()
	k.time("memory-create", k.create("memory"))
	stopped := k.event(sub, "STOP")
	k.took["memory-pause"] = append(k.took["memory-pause"], k.event(sub, "RESUME").Sub(stopped))
	k.write()
	k.time("memory-load", func() error { return k.g.Load(k.b.Context(), "memory") })
	k.time("memory-delete", func() error { return k.g.DeleteSnapshot(k.b.Context(), "memory") })
}

// event returns when QEMU sent the next event of that name.
func (k *kinds) event(sub *qmp.Subscription, name string) time.Time {
	k.b.Helper()
	ev, err := sub.Await(k.b.Context(), func(e qmp.Event) bool { return e.Name == name })
	require.NoError(k.b, err)
	return ev.Time
}

func (k *kinds) external() {
	k.write()
	k.time("external-create", k.create("external", snapshot.DiskOnly()))
	k.write()
	k.time("external-commit", func() error { return k.g.CommitSnapshot(k.b.Context(), "external") })
	k.time("external-create-unfrozen", k.create("external", snapshot.DiskOnly(), snapshot.NoFreeze()))
	k.write()
	k.time("external-load", func() error { return k.g.Load(k.b.Context(), "external") })
	k.write() // it has booted
	require.NoError(k.b, k.g.DropSnapshot(k.b.Context(), "external"))
}

func (k *kinds) offline() {
	ctx := k.b.Context()
	_, err := k.g.Stop(ctx)
	require.NoError(k.b, err)
	k.time("internal-create", k.create("internal"))
	k.time("internal-load", func() error { return k.g.Load(ctx, "internal") })
	k.time("internal-delete", func() error { return k.g.DeleteSnapshot(ctx, "internal") })
	require.NoError(k.b, k.g.Start(ctx))
}

// BenchmarkSnapshotList lists 50 snapshots of a VM that is not live, and of one that is.
func BenchmarkSnapshotList(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Lifetime: vm.Persistent, Memory: 256 * vm.MiB,
		Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(b, err)
	b.Cleanup(func() {
		require.NoError(b, m.VM.Remove(context.WithoutCancel(b.Context()), g.ID(), vm.ForceRemove(), vm.DeleteImages()))
	})
	_, err = g.Stop(b.Context())
	require.NoError(b, err)
	for i := range 50 {
		_, err := g.Snapshot(b.Context(), fmt.Sprintf("snapshot %d", i))
		require.NoError(b, err)
	}
	list := func(b *testing.B) {
		for b.Loop() {
			list, err := g.Snapshots(b.Context())
			require.NoError(b, err)
			require.Len(b, list, 50)
		}
	}
	b.Run("stopped", list)
	require.NoError(b, g.Start(b.Context()))
	b.Run("running", list)
}
