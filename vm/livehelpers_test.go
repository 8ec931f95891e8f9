package vm_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// waits is a condition that never holds; it says when it is being waited for.
type waits struct{ begun chan struct{} }

func (waits) String() string { return "it holds" }
func (w waits) Wait(ctx context.Context, _ string) error {
	close(w.begun)
	<-ctx.Done()
	return context.Cause(ctx)
}

// lostHelper is one that ended, with a log.
func lostHelper(t *testing.T) vm.Helper {
	log := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(log, []byte("first\nout of luck\n"), 0o600))
	return vm.Helper{Name: "virtiofsd data", Process: vm.Process{PID: 1, StartTime: 2}, Log: log,
		Exit: &errors.ExitStatus{Known: true, Code: 3}}
}

// TestHelperEndsDuringStart: the start fails at once, and says why.
func TestHelperEndsDuringStart(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{})
	w := waits{begun: make(chan struct{})}
	go func() {
		<-w.begun
		b.backend.guest(inst.ID).lost <- lostHelper(t)
	}()
	_, err := b.Start(t.Context(), inst.ID, vm.WaitFor(w))
	var failed *errors.StartError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, vm.StepReady, failed.Step)
	require.ErrorContains(t, err, "virtiofsd data")
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "out of luck")
}

// TestHelperEndsLater: the guest goes on, the record and the watchers know.
func TestHelperEndsLater(t *testing.T) {
	b := newBench(t)
	inst := b.start(t, vm.Config{}, vm.WaitFor(holds{}))
	events, err := b.Watch(t.Context())
	require.NoError(t, err)
	h := lostHelper(t)
	b.backend.guest(inst.ID).lost <- h
	ev := <-events
	require.Equal(t, vm.Running, ev.From)
	require.Equal(t, vm.Running, ev.To)
	require.Equal(t, "helper-ended: virtiofsd data: exit status 3", ev.Reason)
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, vm.Running, now.State)
	require.Equal(t, ev.Reason, now.Reason)
	_, err = b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
}
