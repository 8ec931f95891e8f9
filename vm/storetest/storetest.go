// Package storetest proves that a vm.Store keeps the rules. Whoever writes a store
// runs it in a test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) vm.Store { return memory.New() })
//	}
package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// Run runs every test that holds for any store. open returns a new, empty store each
// time; Run closes it.
func Run(t *testing.T, open func(t *testing.T) vm.Store) {
	for name, test := range map[string]func(*testing.T, vm.Store){
		"CreateAndGet":         testCreateAndGet,
		"WholeRecordComesBack": testWholeRecord,
		"CreateTaken":          testCreateTaken,
		"NotFound":             testNotFound,
		"List":                 testList,
		"OddNames":             testOddNames,
		"ResultsAreCopies":     testCopies,
		"Thousand":             testThousand,
		"Update":               testUpdate,
		"UpdateConflict":       testUpdateConflict,
		"Rename":               testRename,
		"Delete":               testDelete,
		"ConcurrentUpdate":     testConcurrentUpdate,
		"ConcurrentCreate":     testConcurrentCreate,
		"Changes":              testChanges,
		"ChangesCoalesce":      testChangesCoalesce,
		"ChangesEnd":           testChangesEnd,
		"ContextCancelled":     testContextCancelled,
		"Closed":               testClosed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			test(t, s)
		})
	}
}

// RunShared runs the tests that hold for a store that keeps a file. open returns a
// store that keeps its file below dir; two stores with the same dir share it.
func RunShared(t *testing.T, open func(t *testing.T, dir string) vm.Store) {
	for name, test := range map[string]func(t *testing.T, open func() vm.Store){
		"Visible":          testSharedVisible,
		"Reopened":         testSharedReopened,
		"ConcurrentUpdate": testSharedConcurrentUpdate,
		"Changes":          testSharedChanges,
		"ConcurrentOpen":   testSharedConcurrentOpen,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, func() vm.Store {
				s := open(t, dir)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				return s
			})
		})
	}
}

// ID returns the nth UUID of those that the tests use.
func ID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// instance returns a small instance in state Created.
func instance(n int) vm.Instance {
	return vm.Instance{
		ID: ID(n), Name: fmt.Sprintf("vm%04d", n), State: vm.Created, Reason: vm.ReasonAdded,
		Config: vm.Config{Labels: map[string]string{"n": fmt.Sprint(n)}},
	}
}

// Whole returns an instance with every part of the record in use, as a VM has it that
// has run and stopped.
func Whole(n int) vm.Instance {
	keep := true
	when := time.Date(2026, 3, 4, 5, 6, 7, 89_000_001, time.UTC)
	process := vm.Process{PID: 4711, StartTime: 1<<63 + 1, BootID: ID(0)}
	inst := instance(n)
	inst.State, inst.Reason = vm.Stopped, "stopped: agent"
	inst.Created, inst.Owner = when, process
	inst.Config = vm.Config{
		Name: inst.Name, Arch: "x86_64", Machine: "q35", Memory: 512 * vm.MiB,
		CPU:      vm.CPU{Count: 2, Model: "max"},
		Boot:     vm.Boot{Kernel: "auto", Files: map[string]string{"/bin/tool": "/usr/bin/tool"}},
		Disks:    []vm.Disk{{Name: "disk0", Size: vm.GiB, Keep: &keep}, {Base: "/images/a,b.qcow2"}},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Port: 2222, Guest: 22}}}},
		Devices:  []vm.Device{{Driver: "virtio-rng-pci", Props: map[string]any{"max-bytes": 1.5, "list": []any{"a", true, nil}}}},
		Lifetime: vm.Persistent,
		Args:     []string{"-device", "x=\"<>&\u2028\""},
		Timeouts: vm.Timeouts{Ready: vm.Duration(90 * time.Second)},
		Labels:   map[string]string{"team": "a", "empty": ""},
	}
	for _, step := range []string{
		vm.StepValidate, vm.StepLock, vm.StepImages, vm.StepLaunch,
		vm.StepHandshake, vm.StepContinue, vm.StepReady,
	} {
		inst.Steps = append(inst.Steps, vm.Step{Name: step, Started: when, Duration: 12_345_678})
	}
	inst.Plugged = []qmp.Device{{ID: "scratch", Driver: "virtio-blk-pci", Bus: "hotplug0", Disk: &qmp.Disk{Path: "/images/a,b.raw", Format: "raw"}}}
	inst.Unplugged = []string{"disk0"}
	inst.Layers, inst.Restore, inst.Unclean = []vm.Layer{{Disk: "disk0", Path: "/state/layer.qcow2"}}, "before the upgrade", true
	inst.Runtime = vm.Runtime{
		Process: process, Backend: "process", Accel: "tcg", Machine: "pc-q35-7.2",
		Dir: "/run/user/1000/maqet/4711", Console: "/state/console.log", Stderr: "/state/stderr.log",
		Sockets: map[string]string{"qmp0": "/run/user/1000/maqet/4711/qmp0", "agent": "/run/user/1000/maqet/4711/agent"},
		Disks:   []vm.Image{{Name: "disk0", Path: "/state/disk0.qcow2", Format: vm.FormatQcow2, Owned: true}},
		Exit:    &errors.ExitStatus{Known: true, Signal: "SIGTERM"},
	}
	for i := range 25 {
		inst.Runtime.Args = append(inst.Runtime.Args, "-device", fmt.Sprintf(`{"driver":"virtio-blk-pci","id":"dev%d"}`, i))
	}
	return inst
}

// create records inst and returns what is recorded.
func create(t *testing.T, s vm.Store, inst vm.Instance) vm.Instance {
	t.Helper()
	got, err := s.Create(t.Context(), inst)
	require.NoError(t, err)
	return got
}

// requireSame fails unless the store has want under its ID.
func requireSame(t *testing.T, s vm.Store, want vm.Instance) {
	t.Helper()
	got, err := s.Get(t.Context(), want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func names(list []vm.Instance) []string {
	out := []string{}
	for _, inst := range list {
		out = append(out, inst.Name)
	}
	return out
}
