package guest

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/wire"
)

// streamWay is the way by maqet's own init: package wire over a channel of its own.
type streamWay struct {
	m       *Manager
	session *wire.Session
	why     atomic.Pointer[error] // given to close
}

func (w *streamWay) done() <-chan struct{} { return w.session.Done() }

func (w *streamWay) close(why error) {
	w.why.CompareAndSwap(nil, &why)
	_ = w.session.Close()
}

// check marks the error of a session that has ended. The guest's own refusals, and
// the errors of the caller's readers and writers, stay what they are.
func (w *streamWay) check(err error) error {
	var remote *wire.RemoteError
	if err == nil || errors.As(err, &remote) || isContextError(err) || w.session.Err() == nil {
		return err
	}
	if why := w.why.Load(); why != nil {
		err = errors.Join(*why, err)
	}
	return lost(err)
}

func (w *streamWay) ping(ctx context.Context) error { return w.check(w.session.Ping(ctx)) }

func (w *streamWay) exec(ctx context.Context, cmd Command) (exit, error) {
	res, err := w.session.Exec(ctx, wire.ExecRequest{
		Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir,
		Stdin: cmd.Stdin, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
	})
	var remote *wire.RemoteError
	if errors.As(err, &remote) {
		return exit{}, &errors.Error{Kind: errors.ErrCommandFailed, Err: err}
	}
	return exit{code: res.ExitCode, signal: res.Signal}, w.check(err)
}

func (w *streamWay) readFile(ctx context.Context, path string, to io.Writer) error {
	return w.check(w.session.ReadFile(ctx, path, to))
}

func (w *streamWay) writeFile(ctx context.Context, path string, r io.Reader, perm fs.FileMode) error {
	return w.check(w.session.WriteFile(ctx, path, perm, r))
}

// isDir asks for what is in the path: that follows a symbolic link, as Stat does not.
func (w *streamWay) isDir(ctx context.Context, name string) (bool, error) {
	_, err := w.session.Stat(ctx, name+"/.")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, w.check(err)
}

func (w *streamWay) exists(ctx context.Context, name string) (bool, error) {
	_, err := w.session.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, w.check(err)
}

// tarFormat is one that has times in nanoseconds.
func (w *streamWay) tarFormat() tar.Format { return tar.FormatPAX }

func (w *streamWay) putTree(ctx context.Context, dir string, r io.Reader) error {
	return w.check(w.session.PutTree(ctx, dir, r))
}

func (w *streamWay) getTree(ctx context.Context, path string, to io.Writer) error {
	// The session reports a path that does not exist as a stream that ends too early.
	found, err := w.exists(ctx, path)
	if err != nil {
		return err
	}
	if !found {
		return &fs.PathError{Op: "copy", Path: path, Err: fs.ErrNotExist}
	}
	return w.check(w.session.GetTree(ctx, path, to))
}

func (w *streamWay) setTime(ctx context.Context, t time.Time) error {
	return w.check(w.session.SetTime(ctx, t))
}

func (w *streamWay) individualize(ctx context.Context, c change) error {
	return w.check(w.session.Individualize(ctx, c.Fresh()))
}

func (w *streamWay) reseed(ctx context.Context) error {
	return w.check(w.session.Reseed(ctx, nil))
}
