package guest

import (
	"context"
	"encoding/base64"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
)

// Polling guest-exec-status is the one place where waiting is asking again: the
// agent's protocol has no event for the end of a program. Short programs are found
// ended at once, long ones cost 20 questions a second.
const (
	pollFirst  = time.Millisecond
	pollLast   = 50 * time.Millisecond
	pollGrowth = 3 // halves: x 1.5
)

// maxInput is how much standard input can go through the agent, in bytes: it travels
// inside the one request that starts the program.
const maxInput = 16 << 20

type guestExec struct {
	Path    string   `json:"path"`
	Arg     []string `json:"arg,omitempty"`
	Input   string   `json:"input-data,omitempty"` // base64
	Capture bool     `json:"capture-output"`
}

type guestExecStatus struct {
	Exited       bool   `json:"exited"`
	ExitCode     int    `json:"exitcode"`
	Signal       int    `json:"signal"`
	Out          []byte `json:"out-data"`
	Err          []byte `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

func (w *agentWay) exec(ctx context.Context, cmd Command) (exit, error) {
	input, err := readInput(ctx, cmd.Stdin)
	if err != nil {
		return exit{}, err
	}
	args := agentArgs(cmd)
	pid, err := w.start(ctx, guestExec{Path: args[0], Arg: args[1:], Input: base64.StdEncoding.EncodeToString(input), Capture: true})
	if err != nil {
		return exit{}, w.explainStart(ctx, cmd, err)
	}
	status, err := w.await(ctx, pid)
	if err != nil {
		if ctx.Err() != nil {
			w.tidy(func(ctx context.Context) error { return w.kill(ctx, pid) })
		}
		return exit{}, err
	}
	end := exit{code: status.ExitCode, signal: status.Signal, truncated: status.OutTruncated || status.ErrTruncated}
	if end.signal != 0 {
		end.code = -1
	}
	if _, err := cmd.Stdout.Write(status.Out); err != nil {
		return exit{}, err
	}
	_, err = cmd.Stderr.Write(status.Err)
	return end, err
}

// agentArgs is the command line that gives cmd its folder and environment, which
// guest-exec can't: it knows no folder, and an environment only in place of its own.
func agentArgs(cmd Command) []string {
	args := cmd.Args
	if len(cmd.Env) > 0 {
		if strings.ContainsRune(args[0], '=') { // else env takes it for a variable
			args = append([]string{"sh", "-c", `exec "$@"`, "sh"}, args...)
		}
		args = append(append([]string{"env"}, cmd.Env...), args...)
	}
	if cmd.Dir == "" {
		return args
	}
	dir := cmd.Dir
	if !strings.HasPrefix(dir, "/") {
		dir = "./" + dir // else cd could take it for an option, or look it up in CDPATH
	}
	return append([]string{"sh", "-c", `cd "$1" && shift && exec "$@"`, "sh", dir}, args...)
}

// start runs guest-exec to its end even when ctx ends first: otherwise a program would
// run whose PID nobody knows. Such a program is killed.
func (w *agentWay) start(ctx context.Context, cmd guestExec) (int, error) {
	type started struct {
		pid int
		err error
	}
	done := make(chan started, 1)
	wanted := make(chan bool, 1)
	ok := w.m.background(func(closing context.Context) {
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
		defer cancel()
		defer context.AfterFunc(closing, cancel)()
		var reply struct {
			PID int `json:"pid"`
		}
		err := w.call(whole, "guest-exec", cmd, &reply)
		done <- started{reply.PID, err}
		if !<-wanted && err == nil {
			_ = w.kill(whole, reply.PID)
		}
	})
	if !ok {
		return 0, lost(nil)
	}
	select {
	case s := <-done:
		wanted <- true
		return s.pid, s.err
	case <-ctx.Done():
		wanted <- false
		return 0, ctx.Err()
	}
}

// await asks until the program has ended.
func (w *agentWay) await(ctx context.Context, pid int) (guestExecStatus, error) {
	pause := pollFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		var status guestExecStatus
		if err := w.call(ctx, "guest-exec-status", map[string]int{"pid": pid}, &status); err != nil || status.Exited {
			return status, err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-timer.C:
		}
		pause = min(pause*pollGrowth/2, pollLast)
	}
}

// kill ends a program that nobody waits for any more and collects its status, which
// the agent would keep for ever.
func (w *agentWay) kill(ctx context.Context, pid int) error {
	var reply struct {
		PID int `json:"pid"`
	}
	killer := guestExec{Path: "sh", Arg: []string{"-c", `kill -KILL "$1"`, "sh", strconv.Itoa(pid)}}
	if err := w.call(ctx, "guest-exec", killer, &reply); err != nil {
		return err
	}
	_, err := w.await(ctx, reply.PID)
	_, err2 := w.await(ctx, pid)
	return errors.Join(err, err2)
}

// explainStart says why a program could not be started. The agent says it in words
// only, so the guest is asked.
func (w *agentWay) explainStart(ctx context.Context, cmd Command, err error) error {
	var refusal *errors.QMPError
	if !errors.As(err, &refusal) {
		return err
	}
	if refusal.Class == "CommandNotFound" {
		return &errors.Error{
			Kind: errors.ErrAgentUnavailable, Msg: w.whyDisabled(ctx), Err: err,
		}
	}
	if cmd.Args[0] != "sh" {
		found, testErr := w.test(ctx, `command -v "$1" >/dev/null`, cmd.Args[0])
		if testErr == nil && !found {
			err = errors.Join(fs.ErrNotExist, err)
		}
	}
	return &errors.Error{Kind: errors.ErrCommandFailed, Err: err}
}

// whyDisabled says why the agent knows no guest-exec: it refuses it while file systems
// are frozen, and some distributions switch it off.
func (w *agentWay) whyDisabled(ctx context.Context) string {
	var status string
	if err := w.call(ctx, "guest-fsfreeze-status", nil, &status); err == nil && status == "frozen" {
		return "the guest's file systems are frozen: its agent runs nothing until they are thawed"
	}
	return "the guest's agent does not allow guest-exec (see block-rpcs in its configuration)"
}

// readInput reads all of r, without waiting for it longer than ctx.
func readInput(ctx context.Context, r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	type read struct {
		data []byte
		err  error
	}
	done := make(chan read, 1)
	go func() { // ends with the Read that is under way, like os/exec's
		data, err := io.ReadAll(io.LimitReader(contextReader{ctx, r}, maxInput+1))
		done <- read{data, err}
	}()
	select {
	case got := <-done:
		if got.err == nil && len(got.data) > maxInput {
			return nil, &errors.Error{Kind: errors.ErrCommandFailed, Msg: "standard input is too large for the guest's agent, which takes at most 16 MiB"}
		}
		return got.data, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
