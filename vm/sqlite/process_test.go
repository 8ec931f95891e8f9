//go:build cgo

package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
	"github.com/maqet/maqet/vm/storetest"
)

// childEnv makes the test binary a second process: "MODE PATH".
const childEnv = "MAQET_TEST_SQLITE"

// child opens the store, says "ready", waits for a line on stdin, and then does what
// its mode says.
func child() int {
	mode, path, _ := strings.Cut(os.Getenv(childEnv), " ")
	ctx := context.Background()
	if mode == "open" {
		awaitLine()
	}
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer s.Close()
	switch mode {
	case "race":
		awaitLine()
		return childRace(ctx, s)
	case "write":
		return childWrite(ctx, s)
	}
	return 0
}

func awaitLine() {
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
}

// childRace tries to start each of 200 VMs and says how many it got.
func childRace(ctx context.Context, s *sqlite.Store) int {
	won := 0
	for n := range raceVMs {
		inst := storetest.Whole(n)
		inst.Reason = fmt.Sprint(os.Getpid())
		_, err := s.Update(ctx, inst, vm.Stopped, 1)
		var conflict *vm.ConflictError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &conflict):
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("won", won)
	return 0
}

// childWrite adds and changes VMs until it is killed, and says "ready" once it is
// in the middle of that.
func childWrite(ctx context.Context, s *sqlite.Store) int {
	for n := 0; ; n++ {
		inst, err := s.Create(ctx, storetest.Whole(os.Getpid()*10_000+n))
		if err == nil {
			_, err = s.Update(ctx, inst, inst.State, inst.Version)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		if n == 20 {
			fmt.Println("ready")
		}
	}
}

const raceVMs = 200

type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// start returns a child that has said "ready".
func start(t *testing.T, mode, path string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode+" "+path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	p := process{cmd, stdin, bufio.NewReader(stdout)}
	require.Equal(t, "ready", p.line(t))
	return p
}

func (p process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	require.NoError(t, err, "%q", line)
	return strings.TrimSpace(line)
}

func (p process) release(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.stdin, "\n")
	require.NoError(t, err)
}

// wait requires that the child ends well.
func (p process) wait(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(p.stdout)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Wait(), "%s", rest)
}

func TestProcessesRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path)
	for n := range raceVMs {
		_, err := s.Create(t.Context(), storetest.Whole(n))
		require.NoError(t, err)
	}
	var children []process
	for range 3 {
		children = append(children, start(t, "race", path))
	}
	for _, p := range children {
		p.release(t)
	}
	total := 0
	for _, p := range children {
		var won int
		_, err := fmt.Sscanf(p.line(t), "won %d", &won)
		require.NoError(t, err)
		total += won
		p.wait(t)
	}
	require.Equal(t, raceVMs, total, "each VM has exactly one winner")
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	for _, inst := range list {
		require.EqualValues(t, 2, inst.Version)
	}
}

// Several processes that make the database at once all succeed.
func TestProcessesOpenNewDatabase(t *testing.T) {
	for range 5 {
		path := filepath.Join(t.TempDir(), "vms.db")
		var children []process
		for range 6 {
			children = append(children, start(t, "open", path))
		}
		for _, p := range children {
			p.release(t)
		}
		for _, p := range children {
			p.wait(t)
		}
	}
}

func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path)
	changes, err := s.Changes(t.Context())
	require.NoError(t, err)
	for range 5 {
		p := start(t, "write", path)
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, p.cmd.Process.Kill())
		require.Error(t, p.cmd.Wait())

		var result string
		require.NoError(t, sqlDB(t, path).QueryRow("PRAGMA integrity_check").Scan(&result))
		require.Equal(t, "ok", result)
		<-changes
		list, err := s.List(t.Context(), vm.Filter{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(list), 20)
		_, err = s.Update(t.Context(), list[0], list[0].State, list[0].Version)
		require.NoError(t, err, "a dead process blocks nobody")
	}
}
