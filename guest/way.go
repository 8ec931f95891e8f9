package guest

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"net"
	"time"
)

// way is one way into a guest: the init's own protocol or the guest agent's. It is
// safe for concurrent use, and every method returns soon after its ctx ended.
//
// A connection that broke is errors.ErrAgentUnavailable and errLost; a path that does
// not exist in the guest is fs.ErrNotExist.
type way interface {
	ping(ctx context.Context) error
	// exec runs cmd, whose Stdout and Stderr are set. When ctx ends the process is killed.
	exec(ctx context.Context, cmd Command) (exit, error)
	// readFile writes what the file has to w.
	readFile(ctx context.Context, path string, w io.Writer) error
	// writeFile makes or replaces the file with what r has.
	writeFile(ctx context.Context, path string, r io.Reader, perm fs.FileMode) error
	// isDir is false without an error when nothing has that path.
	isDir(ctx context.Context, path string) (bool, error)
	// exists is true also for a symbolic link to nothing.
	exists(ctx context.Context, path string) (bool, error)
	// putTree unpacks a tar stream of that format into an existing folder.
	putTree(ctx context.Context, dir string, r io.Reader) error
	tarFormat() tar.Format
	// getTree packs what has that path, after following it if it is a symbolic link. The
	// first entry is the file, or "./" for a folder, which then holds all others.
	getTree(ctx context.Context, path string, w io.Writer) error
	// dial connects to a TCP address inside; the connection outlives ctx. errNoDial where
	// the way has no means to.
	dial(ctx context.Context, address string) (net.Conn, error)
	reseed(ctx context.Context) error
	setTime(ctx context.Context, t time.Time) error
	individualize(ctx context.Context, c change) error
	// done is closed when the way is of no more use.
	done() <-chan struct{}
	// close waits for the way's goroutines. why, which may be nil, is in the errors of the
	// calls that it ends.
	close(why error)
}

// exit says how a program in the guest ended.
type exit struct {
	code      int // -1 when a signal ended it
	signal    int // 0 for none
	truncated bool
}
