//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/inotify"
)

// Changes implements vm.Store. Changes of every process, this one included, are seen
// by inotify.
func (s *Store) Changes(ctx context.Context) (<-chan struct{}, error) {
	const op = "watch VMs"
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, &errors.Error{Kind: errors.ErrDatabase, Op: op, Msg: "the store is closed"}
	case ctx.Err() != nil:
		return nil, errors.Wrap(errors.ErrDatabase, op, "", ctx.Err())
	}
	if s.watch == nil {
		w, err := s.startWatch(ctx)
		if err != nil {
			return nil, s.fail(ctx, op, "", err)
		}
		s.watch = w
	}
	return s.changes.Listen(ctx), nil
}

// ring tells every process about a change that is committed. The log's own
// modification won't do alone: it comes a moment before the change can be read.
func (s *Store) ring(ctx context.Context) {
	if _, err := s.bell.WriteAt([]byte{'\n'}, 0); err != nil {
		s.log.WarnContext(ctx, "other processes could not be told about a change", "path", s.path, "error", err)
	}
}

// watch is the one goroutine that waits for changes.
type watch struct {
	watcher *inotify.Watcher
	conn    *sql.Conn // whose data_version tells whether there was a change
	stop    context.CancelFunc
	done    chan struct{}
}

// startWatch starts the goroutine. No change is missed after it has returned.
func (s *Store) startWatch(ctx context.Context) (*watch, error) {
	watcher, err := inotify.New()
	if err != nil {
		return nil, err
	}
	if _, err := watcher.Add(filepath.Dir(s.path), unix.IN_MODIFY); err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, watcher.Close())
	}
	version, err := dataVersion(ctx, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close(), watcher.Close())
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	w := &watch{watcher: watcher, conn: conn, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		if err := s.follow(ctx, w, version); ctx.Err() == nil {
			s.log.Error("changes of the store can't be followed any longer", "path", s.path, "error", err)
			s.changes.Close() // whoever listens must not wait forever
		}
	}()
	return w, nil
}

// follow wakes the listeners after each change until ctx ends.
func (s *Store) follow(ctx context.Context, w *watch, version int64) error {
	for {
		events, err := w.watcher.Wait(ctx)
		if err != nil {
			return err
		}
		if !s.concerns(events) {
			continue
		}
		now, err := dataVersion(ctx, w.conn)
		if err != nil && !isBusy(err) {
			return err
		}
		if err != nil || now != version {
			version = now
			s.changes.Notify()
		}
	}
}

// concerns reports whether any of the events may come from a change of the database.
// The log is watched besides the bell because a process can die between a change and
// the ring.
func (s *Store) concerns(events []inotify.Event) bool {
	base := filepath.Base(s.path)
	for _, e := range events {
		if e.Name == base+".lock" || e.Name == base+"-wal" || e.Mask&unix.IN_Q_OVERFLOW != 0 {
			return true
		}
	}
	return false
}

// dataVersion returns a number that differs from the last one on this connection if
// any other connection has changed the database since ("PRAGMA data_version").
func dataVersion(ctx context.Context, conn *sql.Conn) (v int64, err error) {
	err = conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&v)
	return v, err
}

func (w *watch) close() error {
	w.stop()
	<-w.done
	return errors.Join(w.conn.Close(), w.watcher.Close())
}
