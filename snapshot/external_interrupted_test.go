package snapshot_test

import (
	"context"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Ways to end an operation in the middle.

func givenUp(_ *layered, cancel context.CancelFunc) { cancel() }

// died ends the goroutine of the operation, and with it its reservation; its caller learns
// nothing.
func died(_ *layered, cancel context.CancelFunc) { cancel(); runtime.Goexit() }

// killed ends QEMU.
func killed(l *layered, _ context.CancelFunc) {
	_ = syscall.Kill(l.get().Runtime.Process.PID, syscall.SIGKILL)
	guest, err := l.vms.Live(context.Background(), l.id)
	if err == nil {
		<-guest.Done()
	}
}

// externalCase is an operation that is interrupted. The VM has the snapshot "base" of pattern 1
// and holds pattern 2 before it.
type externalCase struct {
	do func(ctx context.Context, l *layered) error
	// holds are the patterns that the disks may hold when it was interrupted; gone reports
	// whether "base" may be gone then.
	holds []int
	gone  bool
}

var externalCases = map[string]externalCase{
	"create": {do: func(ctx context.Context, l *layered) error { return l.create(ctx, "new", snapshot.NoFreeze()) }, holds: []int{2}},
	"delete": {do: func(ctx context.Context, l *layered) error { return l.snaps.Delete(ctx, "box", "base") }, holds: []int{2}, gone: true},
	"commit": {do: func(ctx context.Context, l *layered) error { return l.snaps.Commit(ctx, "box", "base") }, holds: []int{2}, gone: true},
	"stream": {do: func(ctx context.Context, l *layered) error { return l.snaps.Stream(ctx, "box", "base") }, holds: []int{2}, gone: true},
	"load":   {do: func(ctx context.Context, l *layered) error { return l.snaps.Load(ctx, "box", "base") }, holds: []int{1, 2}},
	"drop":   {do: func(ctx context.Context, l *layered) error { return l.snaps.Drop(ctx, "box", "base") }, holds: []int{1, 2}, gone: true},
}

// subject brings the VM to what the cases begin with. The CPUs of its guest are halted: its
// disks are written through QEMU.
func (l *layered) subject(live bool) {
	l.t.Helper()
	_, err := l.vms.Start(soon(l.t), "box", vm.StartPaused())
	if !errors.Is(err, errors.ErrVMAlreadyRunning) {
		require.NoError(l.t, err)
	}
	list, err := l.snaps.List(soon(l.t), "box")
	require.NoError(l.t, err)
	for _, s := range slices.Backward(list) {
		require.NoError(l.t, l.snaps.Delete(soon(l.t), "box", s.Name))
	}
	l.poke(1)
	require.NoError(l.t, l.create(soon(l.t), "base", snapshot.NoFreeze()))
	l.poke(2)
	if !live {
		l.off()
	}
}

func (l *layered) off() {
	l.t.Helper()
	_, err := l.vms.Stop(soon(l.t), "box", vm.Force())
	require.NoError(l.t, err)
}

// requireSound checks a VM on which an operation was interrupted: what it left is mended, the
// disks hold what they may, the snapshots are whole, and so are the images.
func (l *layered) requireSound(c externalCase, err error, step string) {
	l.t.Helper()
	l.settle("box")
	require.NoError(l.t, l.snaps.Mend(soon(l.t), "box"), step)
	require.True(l.t, slices.ContainsFunc(c.holds, l.holds), "%s: neither of %v", step, c.holds)
	list, listErr := l.snaps.List(soon(l.t), "box")
	require.NoError(l.t, listErr)
	there := false
	for _, s := range list {
		require.Equal(l.t, snapshot.OK, s.Status, "%s: %+v", step, s)
		there = there || s.Name == "base"
	}
	require.True(l.t, there || c.gone, step)
	if there {
		require.NoError(l.t, l.snaps.Load(soon(l.t), "box", "base"), step)
		l.peek(1)
	}
	l.off()
	l.checked()
	require.LessOrEqual(l.t, l.files(), 2*(len(list)+1), "%s: files are left", step)
}

func interruptExternal(t *testing.T, l *layered, name string, live bool, hit func(*layered, context.CancelFunc)) {
	l = &layered{l.in(t), l.raw, l.id}
	c := externalCases[name]
	l.subject(live)
	steps := l.steps(func(ctx context.Context) error { return c.do(ctx, l) })
	require.Greater(t, len(steps), 4)
	for n, step := range steps {
		l.subject(live)
		ctx, cancel := context.WithCancel(soon(t))
		err := l.at(n, func(context.Context) error { return c.do(ctx, l) }, func() { hit(l, cancel) })
		cancel()
		l.requireSound(c, err, step)
	}
}

// TestExternalInterrupted interrupts operations on a VM at each step: by a context that ends, by
// the death of who does it, and by that of QEMU.
func TestExternalInterrupted(t *testing.T) {
	l := newLayered(t, nil)
	for name := range externalCases {
		t.Run("live "+name+" died", func(t *testing.T) { interruptExternal(t, l, name, true, died) })
		if name != "create" {
			t.Run("offline "+name+" died", func(t *testing.T) { interruptExternal(t, l, name, false, died) })
		}
	}
	for _, name := range []string{"create", "commit", "stream"} {
		t.Run("live "+name+" given up", func(t *testing.T) { interruptExternal(t, l, name, true, givenUp) })
		t.Run("live "+name+" QEMU killed", func(t *testing.T) { interruptExternal(t, l, name, true, killed) })
	}
	for _, name := range []string{"commit", "stream", "load"} {
		t.Run("offline "+name+" given up", func(t *testing.T) { interruptExternal(t, l, name, false, givenUp) })
	}
}
