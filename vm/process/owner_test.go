package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// childMode makes the test binary play another process; see runChild.
const (
	childMode = "MAQET_PROCESS_CHILD"
	childDir  = "MAQET_PROCESS_DIR"
)

// runChild is what another process does. It prints what its parent waits for, and ends
// with its stdin.
func runChild(mode string) error {
	dir := os.Getenv(childDir)
	b, err := New(Options{RuntimeDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "logs"), CacheDir: filepath.Join(dir, "cache")})
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch mode {
	case "own": // launches the guest whose specification is the first line of stdin
		in := bufio.NewReader(os.Stdin)
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var spec vm.LaunchSpec
		if err := json.Unmarshal(line, &spec); err != nil {
			return err
		}
		g, err := b.Launch(ctx, spec)
		if err != nil {
			return err
		}
		if err := g.Connect(ctx); err != nil {
			return err
		}
		churnThreads()
		if _, err := g.QMP().Execute(ctx, "query-status", nil); err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(g.Runtime()); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, in)
		return nil
	case "attach": // attaches to the record that is the first line of stdin
		in := bufio.NewReader(os.Stdin)
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var inst vm.Instance
		if err := json.Unmarshal(line, &inst); err != nil {
			return err
		}
		g, err := b.Attach(ctx, inst)
		if err != nil {
			return err
		}
		for range 100 {
			if _, err := g.QMP().Execute(ctx, "query-status", nil); err != nil {
				return err
			}
		}
		fmt.Println("attached")
		_, _ = io.Copy(io.Discard, in)
		if err := g.Release(); err != nil {
			return err
		}
		return b.Close()
	}
	return fmt.Errorf("unknown mode %q", mode)
}

// churnThreads ends 200 OS threads: a goroutine that exits while it is locked to its
// thread takes the thread with it. A parent-death signal that hung on any of them would
// be sent.
func churnThreads() {
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			runtime.LockOSThread()
			time.Sleep(time.Millisecond) // so that they need threads of their own
		})
	}
	wg.Wait()
}

// peer is a running child.
type peer struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// startPeer runs the test binary as another process and hands it a value.
func (h *house) startPeer(mode string, input any) *peer {
	h.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+h.dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(h.t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(h.t, err)
	require.NoError(h.t, cmd.Start())
	p := &peer{t: h.t, cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	h.t.Cleanup(p.kill)
	require.NoError(h.t, json.NewEncoder(stdin).Encode(input))
	return p
}

func (p *peer) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err)
	return line
}

func (p *peer) kill() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// end lets the child finish.
func (p *peer) end() {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	rest, err := io.ReadAll(p.out)
	require.NoError(p.t, err)
	require.NoError(p.t, p.cmd.Wait(), "%s", rest)
}

// own starts an owner, whose guest outlives the end of 200 of its threads.
func (h *house) own(spec vm.LaunchSpec) (*peer, vm.Instance) {
	h.t.Helper()
	p := h.startPeer("own", spec)
	line := p.line()
	inst := vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config, State: vm.Running}
	require.NoError(h.t, json.Unmarshal([]byte(line), &inst.Runtime), line)
	return p, inst
}

// TestOwnerKilled: an ephemeral guest lives as long as its owner, whatever threads the
// owner loses, and no longer than a second after it.
func TestOwnerKilled(t *testing.T) {
	rounds := 3
	if os.Getenv("MAQET_LONG") == "1" {
		rounds = 50
	}
	h := newHouse(t)
	for range rounds {
		p, inst := h.own(specOf(vm.Config{}))
		handle, err := proc.Open(proc.ID(inst.Runtime.Process))
		require.NoError(t, err)
		p.kill()
		killed := time.Now()
		select {
		case <-handle.Done():
			t.Logf("gone %v after its owner", time.Since(killed))
		case <-time.After(time.Second):
			t.Fatal("the guest outlived its owner")
		}
		require.NoError(t, handle.Close())
		_, err = h.b.Attach(t.Context(), inst)
		requireNotRunning(t, err)
		require.NoError(t, h.b.Clean(t.Context(), inst))
	}
}

// TestPersistentGuest outlives its owner and is adopted, also when the owner did not
// live to record it; and two processes work with it at once.
func TestPersistentGuest(t *testing.T) {
	h := newHouse(t)
	p, inst := h.own(specOf(vm.Config{Lifetime: vm.Persistent, Template: true}))
	p.kill()
	g, err := h.b.Attach(t.Context(), inst)
	require.NoError(t, err)
	require.Equal(t, inst.Runtime, g.Runtime())

	other := h.startPeer("attach", inst)
	require.Equal(t, "attached\n", other.line())
	ask[any](t, g, "query-status", nil)
	other.end()

	unrecorded := inst
	unrecorded.Runtime = vm.Runtime{}
	found, err := h.b.Attach(t.Context(), unrecorded)
	require.NoError(t, err)
	require.Equal(t, inst.Runtime, found.Runtime())
	require.NoError(t, found.Release())

	require.NoError(t, rung(g, "quit").Run(t.Context()))
	gone(t, g.Done())
	require.False(t, g.Exit().Known, "it was another process's child")
	require.NoError(t, g.Release())
	_, err = h.b.Attach(t.Context(), unrecorded)
	requireNotRunning(t, err)
	require.NoError(t, h.b.Erase(t.Context(), inst))
	require.Empty(t, filesBelow(t, filepath.Join(h.dir, "logs")))
}

// TestCloseKeepsPersistentGuests: Close ends ephemeral guests and no others.
func TestCloseKeepsPersistentGuests(t *testing.T) {
	h := newHouse(t)
	b := h.open()
	stays, goes := specOf(vm.Config{Lifetime: vm.Persistent}), specOf(vm.Config{})
	persistent, err := b.Launch(t.Context(), stays)
	require.NoError(t, err)
	ephemeral, err := b.Launch(t.Context(), goes)
	require.NoError(t, err)
	require.NoError(t, persistent.Release())
	require.NoError(t, b.Close())
	gone(t, ephemeral.Done())
	require.NoError(t, ephemeral.Release())
	require.NoDirExists(t, b.vmDir(goes.ID))

	g, err := h.b.Attach(t.Context(), record(stays, persistent))
	require.NoError(t, err)
	require.NoError(t, rung(g, "sigkill").Run(t.Context()))
	gone(t, g.Done())
	require.Equal(t, "SIGKILL", g.Exit().Signal, "still a child of this process, which reaps it")
	require.NoError(t, g.Release())
	require.NoError(t, h.b.Clean(t.Context(), record(stays, persistent)))
}
