package guest

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
)

// sshSessions is how many programs run at once on one connection. OpenSSH takes ten
// (sshd_config(5), MaxSessions); more wait. Two are for killing programs.
const sshSessions = 8

// sshWay is the way by an ssh server. Everything is done by programs: sh, cat, tar, and
// what scripts need.
type sshWay struct {
	scripts
	m      *Manager
	client *ssh.Client
	slots  chan struct{}
	ended  chan struct{} // closed when the connection is
	once   sync.Once
}

// newSSHWay owns client from now on. It is nil when the manager is closed.
func newSSHWay(m *Manager, client *ssh.Client) *sshWay {
	w := &sshWay{m: m, client: client, slots: make(chan struct{}, sshSessions), ended: make(chan struct{})}
	w.scripts = scripts{w.exec}
	ok := m.background(func(closing context.Context) {
		defer context.AfterFunc(closing, w.hangUp)()
		_ = client.Wait() // how it ended shows where it matters
		close(w.ended)
	})
	if !ok {
		_ = client.Close()
		return nil
	}
	return w
}

func (w *sshWay) done() <-chan struct{} { return w.ended }

func (w *sshWay) hangUp() { w.once.Do(func() { _ = w.client.Close() }) }

func (w *sshWay) close(error) {
	w.hangUp()
	<-w.ended
}

// ping waits for an answer to a request that every server knows, or refuses.
func (w *sshWay) ping(ctx context.Context) error {
	_, err := w.do(ctx, func(context.Context) (exit, error) {
		_, _, err := w.client.SendRequest("keepalive@openssh.com", true, nil)
		return exit{}, err
	})
	return err
}

// do runs fn to its end in the background, and returns before that when ctx ends.
func (w *sshWay) do(ctx context.Context, fn func(ctx context.Context) (exit, error)) (exit, error) {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return exit{}, ctx.Err()
	case <-w.ended:
		return exit{}, lost(nil)
	}
	type result struct {
		end exit
		err error
	}
	done := make(chan result, 1)
	ok := w.m.background(func(closing context.Context) {
		defer func() { <-w.slots }()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(closing, cancel)()
		end, err := fn(ctx)
		done <- result{end, err}
	})
	if !ok {
		<-w.slots
		return exit{}, lost(nil)
	}
	select {
	case r := <-done:
		return r.end, w.check(ctx, r.err)
	case <-ctx.Done():
		return exit{}, ctx.Err()
	}
}

// check marks the error of a connection that has ended, or is ended by the manager.
func (w *sshWay) check(ctx context.Context, err error) error {
	var e *errors.Error
	switch {
	case err == nil || ctx.Err() != nil || errors.As(err, &e):
		return err
	case isContextError(err):
		return lost(err)
	}
	select {
	case <-w.ended:
		return lost(err)
	default:
		return err
	}
}

func (w *sshWay) exec(ctx context.Context, cmd Command) (exit, error) {
	stdout, stderr := &gate{to: cmd.Stdout}, &gate{to: cmd.Stderr}
	run := cmd
	run.Stdout, run.Stderr = stdout, stderr
	end, err := w.do(ctx, func(ctx context.Context) (exit, error) { return w.session(ctx, run) })
	if ctx.Err() != nil {
		stdout.shut.Store(true)
		stderr.shut.Store(true)
	}
	if err == nil && end.code == codeNotFound && cmd.Args[0] != "sh" {
		found, testErr := w.test(ctx, `command -v "$1" >/dev/null`, cmd.Args[0])
		if testErr == nil && !found {
			return exit{}, &errors.Error{Kind: errors.ErrCommandFailed, Msg: "there is no such program", Err: fs.ErrNotExist}
		}
	}
	return end, err
}

// codeNotFound is what a shell exits with when it finds no program (POSIX, Shell
// Command Language, 2.8.2), but a program may use it as well.
const codeNotFound = 127

func (w *sshWay) readFile(ctx context.Context, name string, to io.Writer) error {
	err := w.stream(ctx, "cat", Command{Args: []string{"sh", "-c", `exec cat <"$1"`, "sh", name}, Stdout: to})
	return w.explain(ctx, name, err)
}

// stream runs a program whose failure is an error with what it complained of.
func (w *sshWay) stream(ctx context.Context, what string, cmd Command) error {
	var stderr capture
	if cmd.Stdout == nil {
		cmd.Stdout = io.Discard
	}
	cmd.Stderr = &stderr
	end, err := w.exec(ctx, cmd)
	if err != nil || end.code == 0 {
		return err
	}
	text, _ := stderr.take()
	return &errors.Error{Kind: errors.ErrGuest, Err: &errors.CommandError{
		Args: []string{what}, ExitCode: end.code, Signal: end.signal, Stderr: string(text)}}
}

// scriptAbsent succeeds when there is certainly no such file: the deepest of its folders
// that can be seen is one that the user may look into.
const scriptAbsent = `[ -e "$1" ] || [ -L "$1" ] && exit 1
p=$1; while p=${p%/*}; [ -n "$p" ] && ! [ -d "$p" ]; do :; done; [ -x "${p:-/}" ]`

// explain adds fs.ErrNotExist to the failure of a program whose file does not exist.
func (w *sshWay) explain(ctx context.Context, name string, err error) error {
	var failed *errors.CommandError
	if !errors.As(err, &failed) {
		return err
	}
	if absent, testErr := w.test(ctx, scriptAbsent, name); testErr == nil && absent {
		err = errors.Join(fs.ErrNotExist, err)
	}
	return &errors.Error{Kind: errors.ErrGuest, Err: err}
}

// writeFile moves the file into place by a second program: of a connection that breaks
// the first sees no more than the end of its input.
func (w *sshWay) writeFile(ctx context.Context, name string, r io.Reader, perm fs.FileMode) error {
	_, beside, err := w.shell(ctx, scriptBeside, name)
	if err != nil {
		return err
	}
	target := beside
	if beside == "" { // a device, or a folder that takes no new file
		target = name
	}
	err = w.stream(ctx, "cat", Command{Args: []string{"sh", "-c", `exec cat >"$1"`, "sh", target}, Stdin: r})
	if beside == "" {
		return w.explain(ctx, name, err)
	}
	if err == nil {
		_, err = w.must(ctx, "mv", scriptReplace, beside, name, octal(perm))
	}
	if err != nil {
		w.tidy(func(ctx context.Context) error { _, _, err := w.shell(ctx, scriptRemove, beside); return err })
	}
	return err
}

// tidy undoes in the background what was begun in the guest.
func (w *sshWay) tidy(fn func(ctx context.Context) error) {
	w.m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, tidyLimit)
		defer cancel()
		if err := fn(ctx); err != nil {
			w.m.log.Debug("guest not tidied", "error", err)
		}
	})
}

func (w *sshWay) putTree(ctx context.Context, dir string, r io.Reader) error {
	return w.stream(ctx, "tar", Command{Args: []string{"tar", "-xpf", "-", "-C", dir}, Stdin: r})
}

// tarFormat is as for the agent: a guest may have any tar.
func (w *sshWay) tarFormat() tar.Format { return tar.FormatGNU }

func (w *sshWay) getTree(ctx context.Context, name string, to io.Writer) error {
	absent, err := w.test(ctx, scriptAbsent, name)
	if err != nil {
		return err
	}
	if absent { // tar's output would begin as if there were something
		return &fs.PathError{Op: "copy", Path: name, Err: fs.ErrNotExist}
	}
	return w.stream(ctx, "tar", Command{Args: []string{"sh", "-c", scriptPack, "sh", "-", name}, Stdout: to})
}

func (w *sshWay) reseed(ctx context.Context) error {
	seed := make([]byte, 64)
	rand.Read(seed) // never fails
	_, err := w.must(ctx, "reseed", `printf %s "$1" >/dev/urandom`, fmt.Sprintf("%x", seed))
	return err
}

// individualize is not for this way: a connection by the network says nothing of a guest that
// has no agent, and ends with the change of the card that it comes by.
func (w *sshWay) individualize(context.Context, change) error { return errors.ErrAgentUnavailable }

func (w *sshWay) setTime(ctx context.Context, t time.Time) error {
	_, err := w.must(ctx, "date", `date -s "@$1" >/dev/null`, strconv.FormatInt(t.Unix(), 10))
	return err
}
