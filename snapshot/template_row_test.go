package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// held is what this process holds, and what there is of VMs.
type held struct {
	Descriptors []string // what they lead to
	Goroutines  int
	Files       []string
	VMs         []string
	Processes   int
}

func (h *house) held() (now held) {
	h.t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(h.t, err)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil { // else it was that of reading the folder
			now.Descriptors = append(now.Descriptors, kindOf(target))
		}
	}
	slices.Sort(now.Descriptors)
	now.Goroutines, now.Files, now.VMs = runtime.NumGoroutine(), h.files(), h.vmNames()
	now.Processes = len(processesOf(h.t, h.dir))
	return now
}

// requireHeld fails unless no more is held than before.
func (h *house) requireHeld(before held) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before.Goroutines && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // they end by themselves, which is no event
	}
	after := h.held()
	require.LessOrEqual(h.t, after.Goroutines, before.Goroutines)
	require.LessOrEqual(h.t, len(after.Descriptors), len(before.Descriptors), "%q, before %q", after.Descriptors, before.Descriptors)
	after.Goroutines, after.Descriptors = before.Goroutines, before.Descriptors
	require.Equal(h.t, before, after)
}

// kindOf leaves out of what a descriptor leads to the number that each socket and pipe has.
func kindOf(target string) string {
	for i, c := range target {
		if c == '[' {
			return target[:i]
		}
	}
	return target
}

// TestForksInARow: nothing is left of forks that have ended, however many there were.
func TestForksInARow(t *testing.T) {
	h := newHouse(t)
	h.boot(templateGuest())
	h.prepare("base")
	h.requireGoesOn()
	h.sh("base", "(while :; do echo alive >/dev/console; sleep 1; done) >/dev/null 2>&1 &")
	h.capture("base", "one")
	once := func() {
		f := h.fork("one")
		require.Equal(t, "template", h.sh(f.ID, "cat /tmp/memory"))
		require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))
	}
	once() // what is kept from then on is there
	before := h.held()
	n := 15
	if os.Getenv("MAQET_LONG") == "1" {
		n = 200
	}
	begun := time.Now()
	for range n {
		once()
	}
	t.Logf("%d forks in a row took %v each", n, time.Since(begun)/time.Duration(n))
	h.requireHeld(before)

	// One that is never ready is given up, with what it said.
	_, err := h.snaps.Fork(soon(t), "one", snapshot.ForkStart(vm.WaitFor(never{})),
		snapshot.ForkConfig(func(c *vm.Config) { c.Timeouts.Ready = vm.Duration(8 * time.Second) }))
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorContains(t, err, "never")
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, vm.StepReady, start.Step)
	require.Contains(t, start.Console, "alive")
	h.requireHeld(before)
}

// requireGoesOn gives a capture up while the guest is saved: its memory and its disk work on.
func (h *house) requireGoesOn() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(soon(h.t))
	h.onStep(func(_ context.Context, name string) {
		if name == "capture: save" {
			cancel()
		}
	})
	_, err := h.snaps.Capture(ctx, "base", "one")
	require.ErrorIs(h.t, err, context.Canceled)
	h.onStep(nil)
	require.Equal(h.t, "template\ntemplate", h.sh("base", "cat /tmp/memory; dd if=/dev/vda iflag=direct count=1 2>/dev/null | head -n1"))
	h.sh("base", "echo x | dd of=/dev/vda seek=8 conv=fsync 2>/dev/null; echo x >/tmp/other")
}

// never is a condition that does not hold.
type never struct{}

func (never) String() string { return "never" }

func (never) Wait(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}
