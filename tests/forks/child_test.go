package forks_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Names of VMs and of the template.
const (
	subject  = "subject" // what is captured
	template = "template"
	passing  = "passing" // an ephemeral fork
	staying  = "staying" // a persistent one
)

// task is what a child process does.
type task struct {
	Do       string // "own" or "capture"
	Dir      string
	Lifetime vm.Lifetime // of the template
	Die      string      // the step at which it kills itself; empty: none
}

// child does a task. It prints a line for each step.
func child(text string) error {
	var do task
	if err := json.Unmarshal([]byte(text), &do); err != nil {
		return err
	}
	ctx := context.Background()
	r, err := newRig(do.Dir, func(_ context.Context, step string) {
		fmt.Println("step", step)
		if step == do.Die {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	})
	if err != nil {
		return err
	}
	switch do.Do {
	case "own":
		err = do.own(ctx, r)
	case "capture":
		_, err = r.snaps.Capture(ctx, subject, template, snapshot.KeepTemplate(do.Lifetime))
	}
	if err == nil {
		fmt.Println("done")
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	return errors.Join(err, r.close(), goleak.Find())
}

// own boots a guest, captures it, and has forks of both kinds.
func (do task) own(ctx context.Context, r *rig) error {
	inst, err := r.vms.Add(ctx, vm.Config{Name: subject, Template: true, Disks: []vm.Disk{{Size: 8 * vm.MiB}}})
	if err != nil {
		return err
	}
	if _, err = r.vms.Start(ctx, inst.ID, vm.WaitFor(r.guests.Until(guest.AgentReady()))); err != nil {
		return err
	}
	if err = r.sh(ctx, subject, "echo captured >/tmp/memory; echo captured | dd of=/dev/vda conv=fsync"); err != nil {
		return err
	}
	if _, err = r.snaps.Capture(ctx, subject, template, snapshot.KeepTemplate(do.Lifetime)); err != nil {
		return err
	}
	for name, lifetime := range map[string]vm.Lifetime{passing: vm.Ephemeral, staying: vm.Persistent} {
		if _, err = r.snaps.Fork(ctx, template, snapshot.ForkName(name), snapshot.ForkLifetime(lifetime)); err != nil {
			return err
		}
	}
	return nil
}

// worker is a running child.
type worker struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	steps []string
}

// start has a child do it.
func (do task) start(t *testing.T) *worker {
	t.Helper()
	text, err := json.Marshal(do)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), taskEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe() // which the child waits for
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &worker{t: t, cmd: cmd, lines: bufio.NewScanner(stdout)}
	t.Cleanup(p.kill)
	return p
}

// await reads what the child prints until it is done, and reports whether it is; else it has died.
func (p *worker) await() bool {
	p.t.Helper()
	for p.lines.Scan() {
		if p.lines.Text() == "done" {
			return true
		}
		p.steps = append(p.steps, p.lines.Text()[len("step "):])
	}
	return false
}

// kill ends the child with SIGKILL, and waits until it is gone.
func (p *worker) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
