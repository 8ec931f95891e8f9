//go:build cgo

package sqlite

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/broadcast"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/vm"
)

// Store is a vm.Store in an SQLite database. It is safe for concurrent use.
type Store struct {
	path   string
	log    *slog.Logger
	busy   time.Duration
	writer *sql.DB // one connection, so that writers of this process queue up in Go
	reader *sql.DB
	bell   *os.File // PATH.lock, written to after each change
	cache  cache

	changes broadcast.Hub
	mu      sync.Mutex
	closed  bool
	watch   *watch // nil until somebody asks for changes
}

var _ vm.Store = (*Store)(nil)

// Option changes how [Open] opens a store.
type Option func(*Store)

// WithLogger makes the store log to l: schema migrations, and failures that no call
// returns. Default: nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(s *Store) { s.log = l } }

// WithBusyTimeout bounds how long a call waits for another process that has the
// database locked; then it fails with errors.ErrDatabaseLock. Default: 10 s. The
// call's context ends the wait too.
func WithBusyTimeout(d time.Duration) Option { return func(s *Store) { s.busy = d } }

// Open opens the database at path. A missing one is made, with mode 0600, and so is
// its folder, with mode 0700. An older schema is migrated; the database as it was is
// kept as PATH.vN.bak, N being its version.
//
// errors.ErrDatabase when it can't be opened, with a [*SchemaError] when a newer
// maqet made it. A file that is not a maqet database is not touched.
func Open(ctx context.Context, path string, opts ...Option) (*Store, error) {
	return open(ctx, path, migrations, opts...)
}

func open(ctx context.Context, path string, steps []migration, opts ...Option) (*Store, error) {
	s := &Store{busy: 10 * time.Second, log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(s)
	}
	if err := s.open(ctx, path, steps); err != nil {
		return nil, s.fail(ctx, "open store", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string, steps []migration) error {
	var err error
	if s.path, err = resolve(path); err != nil {
		return err
	}
	// Of several processes that open a new database at once, some would fail while it
	// changes to WAL mode, time-out or not: one at a time.
	lock, err := flock.Wait(ctx, s.lockPath())
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := createFile(s.path); err != nil {
		return err
	}
	if s.bell, err = os.OpenFile(s.lockPath(), os.O_WRONLY|unix.O_NOFOLLOW, 0); err != nil {
		return err
	}
	s.writer = openWriter(s.path)
	if err := s.prepare(ctx, steps); err != nil {
		return err
	}
	s.reader = openReader(s.path)
	return nil
}

// resolve returns the path that SQLite itself would come to, so that processes that
// come by different symbolic links agree on the lock file. It makes the folder.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real, nil
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

// createFile makes the database file if it is missing: SQLite would give it the mode
// that the umask allows, and gives its other files the mode of this one. An existing
// file is only looked at, since closing it would drop the locks that SQLite has on it
// in this process (fcntl(2), "Advisory record locking").
func createFile(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case err == nil || !errors.Is(err, os.ErrNotExist):
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) lockPath() string { return s.path + ".lock" }

// Close releases the store and closes every channel that Changes returned. It is
// idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.watch != nil {
		errs = append(errs, s.watch.close())
	}
	s.changes.Close()
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.bell != nil {
		errs = append(errs, s.bell.Close())
	}
	return errors.Wrap(errors.ErrDatabase, "close store", s.path, errors.Join(errs...))
}
