package guest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// session runs one program to its end. When ctx ends, or what takes its output fails, the
// program is killed. OpenSSH has a request for that, which it refuses for root, so a second
// session does it.
func (w *sshWay) session(ctx context.Context, cmd Command) (exit, error) {
	s, err := w.client.NewSession()
	if err != nil {
		return exit{}, w.unstarted(ctx, err)
	}
	defer func() { _ = s.Close() }() // an error means that it has ended
	pipes, err := openPipes(s)
	if err != nil {
		return exit{}, err
	}
	if err := s.Start(commandLine(agentArgs(cmd))); err != nil {
		return exit{}, w.unstarted(ctx, err)
	}
	pid, stdout := readPID(pipes.stdout)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var copies sync.WaitGroup
	copies.Go(func() { copyOutput(cmd.Stdout, stdout, cancel) })
	copies.Go(func() { copyOutput(cmd.Stderr, pipes.stderr, cancel) })
	go feed(ctx, pipes.stdin, cmd.Stdin, cancel) // ends with the Read that is under way, like os/exec's
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		w.kill(pid)
		_ = s.Close()
	})
	err = s.Wait()
	copies.Wait()
	if !stop() {
		<-killed
		return exit{}, context.Cause(ctx)
	}
	return exitOf(err)
}

// unstarted returns err as that of a program that was not started: the server refused it, or
// the connection broke. What is under way fails a moment before it is known to have ended.
func (w *sshWay) unstarted(ctx context.Context, err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return err
	}
	select {
	case <-w.ended:
		return lost(err)
	case <-time.After(causeGrace):
	case <-ctx.Done():
	}
	return err
}

// readPID takes the first line, which the program's shell wrote before it became the
// program. Without one there was no such shell, and all is output.
func readPID(stdout io.Reader) (pid string, rest io.Reader) {
	in := bufio.NewReader(stdout)
	var line []byte
	for len(line) < maxPID {
		c, err := in.ReadByte()
		if err != nil {
			break
		}
		if line = append(line, c); c == '\n' {
			break
		}
	}
	digits, whole := strings.CutSuffix(string(line), "\n")
	if _, err := strconv.ParseUint(digits, 10, 32); err != nil || !whole {
		return "", io.MultiReader(bytes.NewReader(line), in)
	}
	return digits, in
}

// maxPID is the length of the longest PID with its line break.
const maxPID = len("4294967295\n")

// kill ends the process group of a program: sshd makes one for each. Failure means that
// the program has ended, or the connection, or that the user may not.
func (w *sshWay) kill(pid string) {
	if pid == "" {
		return
	}
	s, err := w.client.NewSession()
	if err == nil {
		err = s.Run("kill -KILL -" + pid)
		_ = s.Close()
	}
	if err != nil {
		w.m.log.Debug("program in the guest not killed", "pid", pid, "error", err)
	}
}

type sessionPipes struct {
	stdin          io.WriteCloser
	stdout, stderr io.Reader
}

func openPipes(s *ssh.Session) (p sessionPipes, err error) {
	if p.stdin, err = s.StdinPipe(); err != nil {
		return p, err
	}
	if p.stdout, err = s.StdoutPipe(); err != nil {
		return p, err
	}
	p.stderr, err = s.StderrPipe()
	return p, err
}

// copyOutput copies until the program has ended. An error of the pipe is its end.
func copyOutput(to io.Writer, from io.Reader, fail context.CancelCauseFunc) {
	out := &failing{to: to, fail: fail}
	_, _ = io.Copy(out, from)
	_, _ = io.Copy(io.Discard, from) // so that the program is not held up until it is killed
}

// failing reports the error of a writer, as opposed to that of what it is fed from.
type failing struct {
	to   io.Writer
	fail context.CancelCauseFunc
}

func (f *failing) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		f.fail(err)
	}
	return n, err
}

// feed copies the input. One that can't be read is not the end of the input: the program
// must not take it for that.
func feed(ctx context.Context, to io.WriteCloser, from io.Reader, fail context.CancelCauseFunc) {
	if from != nil {
		in := &observed{from: contextReader{ctx, from}}
		_, _ = io.Copy(to, in) // a program that reads no more has ended, or will tell
		if in.err != nil {
			fail(in.err)
			return
		}
	}
	_ = to.Close()
}

// observed keeps the error of a reader.
type observed struct {
	from io.Reader
	err  error
}

func (o *observed) Read(p []byte) (int, error) {
	n, err := o.from.Read(p)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// gate lets nothing through once it is shut: a call that was cancelled has returned, and
// its writers are the caller's again. A Write that is under way then is not waited for.
type gate struct {
	to   io.Writer
	shut atomic.Bool
}

func (g *gate) Write(p []byte) (int, error) {
	if g.shut.Load() {
		return len(p), nil
	}
	return g.to.Write(p)
}

// exitOf is how a program ended, of what Session.Wait says.
func exitOf(err error) (exit, error) {
	var ended *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return exit{}, nil
	case errors.As(err, &ended) && ended.Signal() != "":
		return exit{code: -1, signal: int(unix.SignalNum("SIG" + ended.Signal()))}, nil
	case errors.As(err, &ended):
		return exit{code: ended.ExitStatus()}, nil
	case errors.As(err, &missing):
		return exit{}, lost(err)
	}
	return exit{}, err
}

// commandLine is args for the user's shell, which ssh servers give commands to: each one in
// single quotes, in which a shell finds nothing to replace. The shell writes its PID, and
// becomes the program.
func commandLine(args []string) string {
	var line strings.Builder
	line.WriteString("echo $$; exec")
	for _, a := range args {
		line.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return line.String()
}
