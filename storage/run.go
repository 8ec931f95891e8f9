package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
)

// Runner runs qemu-img. Implementations are safe for concurrent use.
type Runner interface {
	// Run runs qemu-img with these arguments and returns what it printed to stdout, also when
	// it fails. When ctx ends the program is killed and the error wraps ctx's.
	Run(ctx context.Context, args ...string) ([]byte, error)
}

// Streamer is a [Runner] that shows what qemu-img prints as soon as it does. With another one,
// long work reports its progress at its end only.
type Streamer interface {
	// Stream is Run with stdout written to a writer, in one goroutine, until it returns.
	// qemu-img inherits the files as descriptors 3, 4 and so on.
	Stream(ctx context.Context, stdout io.Writer, files []*os.File, args ...string) error
}

// RunError is a qemu-img that failed.
type RunError struct {
	Args   []string // Args[0] is the program
	Stderr string   // the end of what it wrote there, at most 4 KiB
	Err    error    // often an *exec.ExitError
}

// Error names the subcommand and what qemu-img said.
func (e *RunError) Error() string {
	text := strings.TrimSpace(e.Stderr)
	if text == "" {
		text = e.Err.Error()
	}
	return fmt.Sprintf("%s: %s", strings.Join(e.Args[:min(2, len(e.Args))], " "), text)
}

// Unwrap returns Err.
func (e *RunError) Unwrap() error { return e.Err }

// NewRunner returns a Runner of the program that MAQET_QEMU_IMG names, else of qemu-img from
// PATH.
func NewRunner() Runner { return program{} }

// program runs the qemu-img of this host.
type program struct{}

// maxStderr is how much of qemu-img's stderr is kept.
const maxStderr = 4 << 10

// Run implements Runner.
func (p program) Run(ctx context.Context, args ...string) ([]byte, error) {
	return p.RunWith(ctx, nil, args...)
}

// RunWith implements FileRunner.
func (p program) RunWith(ctx context.Context, files []*os.File, args ...string) ([]byte, error) {
	var stdout bytes.Buffer
	err := p.Stream(ctx, &stdout, files, args...)
	return stdout.Bytes(), err
}

// Stream implements Streamer. The program dies with this process: what it does in a file can be
// told from what is finished, and would be in the way of who goes on with it.
func (program) Stream(ctx context.Context, stdout io.Writer, files []*os.File, args ...string) error {
	name := "qemu-img"
	if set := os.Getenv("MAQET_QEMU_IMG"); set != "" {
		name = set
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return &errors.Error{
			Kind: errors.ErrQEMUNotFound, Op: "find qemu-img", Err: err,
			Hint: "install qemu-utils, or set MAQET_QEMU_IMG to the program's path",
		}
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	cmd.WaitDelay = time.Second // should a child of it keep the pipes open
	cmd.SysProcAttr = dieWithUs()
	runtime.LockOSThread() // the kernel minds the thread that started a child, not the process
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // says more than "signal: killed"
		}
		text := stderr.String()
		return &RunError{Args: cmd.Args, Stderr: text[max(0, len(text)-maxStderr):], Err: err}
	}
	return nil
}
