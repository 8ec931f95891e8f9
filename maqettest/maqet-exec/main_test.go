package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/testhost"
)

// envMain has the test program be the command: so nothing else has to be built.
const envMain = "MAQET_EXEC_TEST_MAIN"

// patience is for what takes as long as it takes on a busy host.
const patience = 5 * time.Minute

// shared is the folder of the template that most tests fork.
var shared string

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		os.Exit(start(os.Args[1:], os.Environ()))
	}
	var err error
	if shared, err = os.MkdirTemp("", "maqet-exec-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(shared); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// environment returns that of a process in which this test program is the command, with a
// folder for its template.
func environment(dir string, more ...string) []string {
	return append(append(os.Environ(), envMain+"=1", envFlags+"=-dir "+dir), more...)
}

func needQEMU(t *testing.T) {
	t.Helper()
	if os.Getenv("MAQET_QEMU") == "" {
		_, err := exec.LookPath("qemu-system-x86_64")
		testhost.Needs(t, "QEMU (scripts/setup.sh)", err)
	}
}

// binary compiles the tests of a package below testdata, once.
func binary(t *testing.T, name string) string {
	t.Helper()
	compiling.Lock()
	defer compiling.Unlock()
	path := filepath.Join(shared, name+".test")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.Command("go", "test", "-c", "-o", path, "./testdata/"+name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

var compiling sync.Mutex

// ended is what became of a process.
type ended struct {
	code           int // -1: killed
	stdout, stderr string
}

// run runs a program to its end.
func run(t *testing.T, dir string, env []string, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	err := cmd.Run()
	require.NotNil(t, cmd.ProcessState, "%v", err)
	require.NoError(t, ctx.Err())
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
