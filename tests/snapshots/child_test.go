package snapshots_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// faultEnv is a fault as JSON, for roleChild and roleImg.
const faultEnv = "MAQET_TEST_FAULT"

// What dies of a fault.
const (
	killNothing   = ""
	killSelf      = "self"             // the process that uses maqet
	killQEMU      = "qemu"             // the guest
	killImg       = "qemu-img"         // a qemu-img
	killSelfInImg = "self in qemu-img" // the process, and the qemu-img that it runs goes on
)

// fault is one operation in a process of its own, and what dies in it, and when.
type fault struct {
	Op, Dir string
	Kind    string
	// Step is the name of the step, or of the progress, and Nth which one of that name it is,
	// from 1, for killSelf and killQEMU.
	Step string
	Nth  int
	Img  imgFault // for killImg and killSelfInImg
	// Untraced runs qemu-img as it is.
	Untraced bool
}

// report is what a child says that has lived to the end.
type report struct {
	Steps []string // all, in order
	Fired bool     // the fault's moment came
	Err   string   // of the operation
	Kinds []string // that the error is of
}

func faultFromEnv() (f fault, err error) {
	err = json.Unmarshal([]byte(os.Getenv(faultEnv)), &f)
	return f, err
}

// child does one operation, and has die what is to.
func child() error {
	f, err := faultFromEnv()
	if err != nil {
		return err
	}
	ctx := context.Background()
	c := &dying{fault: f, seen: map[string]int{}}
	r, err := newRig(f.Dir, c.at)
	if err != nil {
		return err
	}
	c.rig = r
	op := operationOf(f.Op)
	if op.live {
		err := goLive(ctx, r)
		if err != nil && f.Kind == killNothing && f.Untraced { // another process was quicker to end or remove it
			return c.finish(err)
		}
		if err != nil {
			return errors.Join(err, r.close())
		}
	}
	if !f.Untraced {
		self, err := os.Executable()
		if err == nil {
			err = errors.Join(os.Setenv("MAQET_QEMU_IMG", self), os.Setenv(roleEnv, roleImg))
		}
		if err != nil {
			return err
		}
	}
	c.arm(true)
	err = op.do(ctx, r, snapshot.OnProgress(func(p snapshot.Progress) { c.at(ctx, "progress: "+p.Step) }))
	c.arm(false)
	return c.finish(err)
}

// finish says how the operation ended, and looks whether anything is left of it.
func (c *dying) finish(err error) error {
	out, marshalErr := json.Marshal(c.report(err))
	_, printErr := os.Stdout.Write(out)
	return errors.Join(marshalErr, printErr, c.rig.close(), goleak.Find())
}

// goLive starts the victim, unless it is live, with the generation of its disks in its memory.
func goLive(ctx context.Context, r *rig) error {
	_, err := r.vms.Start(ctx, victim, vm.StartPaused())
	if errors.Is(err, errors.ErrVMAlreadyRunning) {
		return nil
	}
	for _, line := range memoryLines(before.present) {
		if err == nil {
			_, err = r.qmp.HMP(qmp.AllowDangerous(ctx), victim, line)
		}
	}
	return err
}

// dying watches the steps of an operation.
type dying struct {
	fault fault
	rig   *rig

	mu    sync.Mutex
	armed bool
	seen  map[string]int
	steps []string
	fired bool
}

func (c *dying) arm(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = on
}

func (c *dying) at(ctx context.Context, step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.armed {
		return
	}
	c.steps = append(c.steps, step)
	c.seen[step]++
	if step != c.fault.Step || c.seen[step] != c.fault.Nth {
		return
	}
	switch c.fault.Kind {
	case killSelf:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case killQEMU:
		c.fired = c.killQEMU(ctx)
	}
}

// killQEMU reports whether there was one.
func (c *dying) killQEMU(ctx context.Context) bool {
	inst, err := c.rig.vms.Get(context.WithoutCancel(ctx), victim)
	if err != nil || !inst.State.Live() || inst.Runtime.Process.PID <= 0 {
		return false
	}
	return syscall.Kill(inst.Runtime.Process.PID, syscall.SIGKILL) == nil
}

func (c *dying) report(err error) report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := report{Steps: c.steps, Fired: c.fired}
	if err != nil {
		r.Err = err.Error()
	}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			r.Kinds = append(r.Kinds, name)
		}
	}
	return r
}

// kinds are those that tests ask for.
var kinds = map[string]error{
	"maqet": errors.ErrMaqet, "snapshot": errors.ErrSnapshot, "creation": errors.ErrSnapshotCreation, "exists": errors.ErrSnapshotExists,
	"not found": errors.ErrSnapshotNotFound, "blocked": errors.ErrSnapshotBlocked, "no VM": errors.ErrVMNotFound,
	"transition": errors.ErrIllegalTransition, "running": errors.ErrVMAlreadyRunning, "invalid": errors.ErrInvalidConfiguration,
	"storage": errors.ErrStorage, "lifecycle": errors.ErrVMLifecycle, "qmp": errors.ErrQMP,
}

// patience is how long a child may take. It is only ever reached by one that hangs.
const patience = 2 * time.Minute

// errKilled is a child that was killed.
var errKilled = errors.New("the child was killed")

// run has a child do it, and returns what it says, and whether it lived to say it.
func (f fault) run(t *testing.T) (rep report, runs []imgRun, lived bool) {
	t.Helper()
	notes := t.TempDir()
	rep, err := f.child(t.Context(), notes)
	runs, readErr := imgRuns(notes)
	require.NoError(t, readErr)
	if errors.Is(err, errKilled) {
		f.awaitImg(t)
		return rep, runs, false
	}
	require.NoError(t, err)
	return rep, runs, true
}

// awaitImg waits until no qemu-img of a process that was killed is left: the kernel kills it,
// too, but not at the same moment.
func (f fault) awaitImg(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, pid := range processesOf(t, f.Dir) {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && !strings.Contains(string(name), "qemu-system") {
				return false
			}
		}
		return true
	}, patience, 2*time.Millisecond)
}

// child has a process do it. Runs of qemu-img are noted in a folder.
func (f fault) child(ctx context.Context, notes string) (rep report, err error) {
	data, err := json.Marshal(f)
	if err != nil {
		return rep, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a qemu-img that goes on has its output, too
	cmd.Env = append(os.Environ(), roleEnv+"="+roleChild, faultEnv+"="+string(data), imgEnv+"="+notes)
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return rep, fmt.Errorf("%s hangs: %s", f.Op, &stderr)
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return rep, errKilled
	case err != nil:
		return rep, fmt.Errorf("%s: %w: %s", f.Op, err, &stderr)
	}
	return rep, json.Unmarshal(stdout.Bytes(), &rep)
}
