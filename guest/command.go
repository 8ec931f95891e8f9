package guest

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/maqet/maqet/errors"
)

// Command is a program to run in a guest. It has the shape of os/exec.Cmd.
type Command struct {
	// Args is the command line; Args[0] is the program: a path, or a name that is
	// looked for on the guest's PATH. No shell is involved: Args{"sh", "-c", text} is one.
	Args []string
	// Env is added to the environment of the guest's init or agent, each entry
	// "KEY=value"; the last of a key wins.
	Env []string
	// Dir is the working directory. Empty: that of the init or agent, usually "/".
	Dir string
	// Stdin is what the program reads. nil: nothing, as from /dev/null. As in os/exec, a
	// Read that is under way when the program ends is not interrupted; a program is not
	// waited for longer because of it.
	Stdin io.Reader
	// Stdout and Stderr get the program's output, each from one goroutine at a time. Where
	// one is nil the output is returned in the Result. A Write that blocks holds the
	// program up; one that fails ends Exec with its error, and the program.
	Stdout, Stderr io.Writer
}

// CaptureLimit is how much of each output a Result holds, in bytes. The rest is
// read and dropped, so that the program isn't held up.
const CaptureLimit = 16 << 20

// Result is how a program ended.
type Result struct {
	ExitCode int // -1 when a signal ended it
	Signal   int // number of the signal that ended it, 0 for none
	// Stdout and Stderr are what the program wrote where Command had no writer.
	Stdout, Stderr []byte
	// Truncated is true when output is missing: more than CaptureLimit was written,
	// or more than the guest's agent keeps.
	Truncated bool
}

// Exec runs a program in the guest and waits until it has ended.
//
// A non-zero exit, or a signal, is a *errors.CommandError (errors.ErrCommandFailed)
// beside the full Result. A program that can't be started is errors.ErrCommandFailed as
// well; where the guest says that it does not exist, also fs.ErrNotExist.
//
// Right after a start Exec waits until the guest's agent answers, at most
// Config.Timeouts.Ready: then errors.ErrAgentUnavailable. If the guest exits, panics or
// falls silent meanwhile, that is the error at once.
//
// When ctx ends, Exec returns within 100 ms with ctx's error and what was captured so
// far, and the process in the guest is killed; its own children may go on.
func (m *Manager) Exec(ctx context.Context, ref string, cmd Command) (Result, error) {
	return m.at(ref).exec(ctx, cmd)
}

func (e entrance) exec(ctx context.Context, cmd Command) (Result, error) {
	if err := cmd.check(e.ref); err != nil {
		return Result{}, err
	}
	op := "run " + strconv.Quote(cmd.Args[0]) + " in VM"
	run := cmd
	run.Args, run.Env = slices.Clone(cmd.Args), slices.Clone(cmd.Env)
	var stdout, stderr capture
	if run.Stdout == nil {
		run.Stdout = &stdout
	}
	if run.Stderr == nil {
		run.Stderr = &stderr
	}
	var end exit
	err := e.do(ctx, op, func(ctx context.Context, w way) (err error) {
		end, err = w.exec(ctx, run)
		return err
	})
	res := Result{ExitCode: end.code, Signal: end.signal, Truncated: end.truncated}
	var cut [2]bool
	res.Stdout, cut[0] = stdout.take()
	res.Stderr, cut[1] = stderr.take()
	res.Truncated = res.Truncated || cut[0] || cut[1]
	if err == nil && end.code != 0 {
		err = &errors.CommandError{
			VM: e.m.name(e.ref), Args: cmd.Args, ExitCode: end.code, Signal: end.signal,
			Stderr: string(res.Stderr[max(0, len(res.Stderr)-stderrTail):]),
		}
	}
	return res, err
}

// stderrTail is how much of stderr a CommandError has, in bytes.
const stderrTail = 4 << 10

// check refuses what no guest could run.
func (c Command) check(ref string) error {
	refuse := func(msg string) error {
		return &errors.Error{Kind: errors.ErrCommandFailed, Op: "run a command in VM", VM: ref, Msg: msg}
	}
	if len(c.Args) == 0 || c.Args[0] == "" || c.Args[0][0] == '-' {
		return refuse("Command.Args[0] must name a program, and not begin with a dash")
	}
	for _, s := range slices.Concat(c.Args, c.Env, []string{c.Dir}) {
		if strings.ContainsRune(s, 0) {
			return refuse("an argument, the environment or the folder has a zero byte")
		}
	}
	for _, s := range c.Env {
		if strings.IndexByte(s, '=') < 1 || s[0] == '-' {
			return refuse("an entry of Command.Env is not KEY=value")
		}
	}
	return nil
}

// capture keeps the first CaptureLimit bytes. After take it drops everything, because
// a call that was cancelled may leave a late write behind.
type capture struct {
	mu    sync.Mutex
	buf   []byte
	cut   bool
	taken bool
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken {
		return len(p), nil
	}
	room := min(CaptureLimit-len(c.buf), len(p))
	c.buf = append(c.buf, p[:room]...)
	c.cut = c.cut || room < len(p)
	return len(p), nil
}

func (c *capture) take() (buf []byte, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = true
	return c.buf, c.cut
}
