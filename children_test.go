package maqet_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Environment of a child process.
const (
	childDir      = "MAQET_TEST_DIR"
	childLifetime = "MAQET_TEST_LIFETIME"
)

// victim is the VM that children work on.
const victim = "victim"

// child is what another process does. It prints a line for everything that happens, so
// that its parent can kill it there.
func child(mode string) error {
	ctx := context.Background()
	m, err := maqet.New(maqet.WithDir(os.Getenv(childDir)))
	if err != nil {
		return err
	}
	switch mode {
	case "run": // starts the VM, then stops it when told to
		return childRun(ctx, m)
	case "segment": // starts a guest on a segment
		cfg := vm.Config{Name: victim, Lifetime: vm.Lifetime(os.Getenv(childLifetime)), Networks: []vm.Network{{Type: vm.NetworkSegment}}}
		if _, err := m.Run(ctx, cfg); err != nil {
			return err
		}
		fmt.Println("running")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return m.Close()
	case "race": // starts a VM that is there, and says who won
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		switch _, err := m.VM.Start(ctx, victim); {
		case err == nil:
			fmt.Println("won")
		case errors.Is(err, errors.ErrVMAlreadyRunning):
			fmt.Println("lost")
		default:
			return err
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // an ephemeral guest lives as long as this process
		return m.Close()
	}
	return fmt.Errorf("unknown mode %q", mode)
}

func childRun(ctx context.Context, m *maqet.Maqet) error {
	cfg := vm.Config{Name: victim, Lifetime: vm.Lifetime(os.Getenv(childLifetime)), Disks: []vm.Disk{{Size: vm.MiB}}}
	g, err := m.Run(ctx, cfg, vm.OnStep(func(s vm.Step) {
		if s.Duration == 0 {
			fmt.Println("step", s.Name)
		}
	}))
	if err != nil {
		return err
	}
	fmt.Println("running")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	if _, err := g.Stop(ctx); err != nil {
		return err
	}
	fmt.Println("stopped")
	return m.Close()
}

// process is a running child.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
	log   []string
}

func startChild(t *testing.T, mode, dir string, lifetime vm.Lifetime) *process {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir, childLifetime+"="+string(lifetime))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{t: t, cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
	t.Cleanup(p.kill)
	return p
}

// await reads the child's lines up to the one that begins with this text.
func (p *process) await(text string) string {
	p.t.Helper()
	for p.lines.Scan() {
		p.log = append(p.log, p.lines.Text())
		if strings.HasPrefix(p.lines.Text(), text) {
			return p.lines.Text()
		}
	}
	p.t.Fatalf("the child never printed %q, but %q", text, p.log)
	return ""
}

func (p *process) say(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.stdin, line+"\n")
	require.NoError(p.t, err)
}

// kill ends the child with SIGKILL, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// end lets the child finish by itself.
func (p *process) end() {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	for p.lines.Scan() {
		p.log = append(p.log, p.lines.Text())
	}
	require.NoError(p.t, p.cmd.Wait(), "%q", p.log)
}
