//go:build cgo

package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/sqlite"
	"github.com/maqet/maqet/vm/storetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string, opts ...sqlite.Option) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), path, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// sqlDB opens the database as any other program would.
func sqlDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) vm.Store { return open(t, filepath.Join(t.TempDir(), "vms.db")) })
}

func TestStoreShared(t *testing.T) {
	storetest.RunShared(t, func(t *testing.T, dir string) vm.Store { return open(t, filepath.Join(dir, "vms.db")) })
}

func TestRegistry(t *testing.T) {
	storetest.RunRegistry(t, func(t *testing.T) storage.Registry { return open(t, filepath.Join(t.TempDir(), "vms.db")) })
}

func TestRecords(t *testing.T) {
	storetest.RunRecords(t, func(t *testing.T) storetest.Records { return open(t, filepath.Join(t.TempDir(), "vms.db")) })
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, filepath.Join(dir, "vms.db"))
	_, err := s.Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)

	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var files []string
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), e.Name())
		files = append(files, e.Name())
	}
	require.Equal(t, []string{"vms.db", "vms.db-shm", "vms.db-wal", "vms.db.lock"}, files)
}

func TestOpenPathsThatLookLikeSyntax(t *testing.T) {
	for _, name := range []string{
		"a?mode=memory", "a#b", "a%20b", "a%00b", "a b", "a&_journal_mode=off", "file:x", "a;b", "ä\nb", ":memory:", "-x", "a+b",
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		s := open(t, path)
		want, err := s.Create(t.Context(), storetest.Whole(1))
		require.NoError(t, err, "%q", name)
		require.NoError(t, s.Close())
		require.FileExists(t, path)
		got, err := open(t, path).Get(t.Context(), want.Name)
		require.NoError(t, err, "%q", name)
		require.Equal(t, want, got)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 4, "%q: only the store's own files", name)
	}
}

func TestOpenBySymlinkIsTheSameStore(t *testing.T) {
	dir := t.TempDir()
	a := open(t, filepath.Join(dir, "vms.db"))
	require.NoError(t, os.Symlink("vms.db", filepath.Join(dir, "link.db")))
	b := open(t, filepath.Join(dir, "link.db"))
	changes, err := a.Changes(t.Context())
	require.NoError(t, err)
	inst, err := b.Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)
	<-changes
	got, err := a.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, inst, got)
	require.NoFileExists(t, filepath.Join(dir, "link.db.lock"))
}

func TestOpenRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	open(t, "vms.db")
	require.FileExists(t, "vms.db")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("these are somebody's notes, long enough to be read as a header of a database, "+
		"which has a hundred bytes"), 0o644))
	foreign := filepath.Join(dir, "foreign.db")
	_, err := sqlDB(t, foreign).Exec("CREATE TABLE notes (text); INSERT INTO notes VALUES ('mine')")
	require.NoError(t, err)
	marked := filepath.Join(dir, "marked.db")
	_, err = sqlDB(t, marked).Exec("PRAGMA application_id = 17; PRAGMA user_version = 1")
	require.NoError(t, err)
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))

	for _, path := range []string{text, foreign, marked, fifo, dir, filepath.Join(text, "vms.db"), "/proc/vms.db", "a\x00b"} {
		before, _ := os.ReadFile(regular(path))
		_, err := sqlite.Open(t.Context(), path)
		require.ErrorIs(t, err, errors.ErrDatabase, "%q", path)
		require.ErrorContains(t, err, fmt.Sprintf("%q", path))
		after, _ := os.ReadFile(regular(path))
		require.Equal(t, before, after, "%q was changed", path)
		require.NoFileExists(t, path+"-wal")
	}
}

// regular returns path if reading it can't block, else one that does not exist.
func regular(path string) string {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path
	}
	return "/nonexistent"
}

func TestOpenEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := open(t, path).Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)
}

func TestOpenNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	require.NoError(t, open(t, path).Close())
	_, err := sqlDB(t, path).Exec("PRAGMA user_version = 99")
	require.NoError(t, err)
	_, err = sqlite.Open(t.Context(), path)
	var schema *sqlite.SchemaError
	require.ErrorAs(t, err, &schema)
	require.Equal(t, 99, schema.Found)
	require.ErrorIs(t, err, errors.ErrDatabase)
	require.ErrorContains(t, err, "newer maqet")
}

func TestOpenCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := sqlite.Open(ctx, filepath.Join(dir, "vms.db"))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, errors.ErrDatabase)
	require.NoFileExists(t, filepath.Join(dir, "vms.db"))
}

// lockDatabase takes the write lock as another program would, until release is called.
func lockDatabase(t *testing.T, path string) (release func()) {
	t.Helper()
	conn, err := sqlDB(t, path).Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	return func() {
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
}

func TestLockedByAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path, sqlite.WithBusyTimeout(200*time.Millisecond))
	inst, err := s.Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)
	release := lockDatabase(t, path)
	defer release()

	_, err = s.Create(t.Context(), storetest.Whole(2))
	require.ErrorIs(t, err, errors.ErrDatabaseLock)

	_, err = s.Get(t.Context(), inst.ID)
	require.NoError(t, err, "reads wait for no writer")
}

func TestCancelledWhileLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path)
	release := lockDatabase(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	for n := range 2 { // one waits for SQLite, the other for the connection
		go func() {
			_, err := s.Create(ctx, storetest.Whole(n))
			failed <- err
		}()
	}
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	cancel()
	for range 2 {
		require.ErrorIs(t, <-failed, context.Canceled)
	}
	require.Less(t, time.Since(start), 2*time.Second)
	release()

	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Empty(t, list)
	_, err = s.Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)
}

func TestWaitsForAnotherProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path)
	release := lockDatabase(t, path)
	done := make(chan error, 1)
	go func() {
		_, err := s.Create(context.Background(), storetest.Whole(1))
		done <- err
	}()
	time.Sleep(200 * time.Millisecond) // longer than SQLite's own wait
	release()
	require.NoError(t, <-done)
}

// A damaged record is an error that names the VM, not a VM without a configuration.
func TestDamagedRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vms.db")
	s := open(t, path)
	inst, err := s.Create(t.Context(), storetest.Whole(1))
	require.NoError(t, err)
	_, err = sqlDB(t, path).Exec("UPDATE instances SET record = '{'")
	require.NoError(t, err)
	_, err = s.Get(t.Context(), inst.Name)
	require.ErrorIs(t, err, errors.ErrDatabase)
	require.ErrorContains(t, err, inst.ID)
	_, err = s.List(t.Context(), vm.Filter{})
	require.ErrorIs(t, err, errors.ErrDatabase)
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k,mode=0700"); err != nil {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			t.Fatal("mounting a tmpfs needs root:", err)
		}
		t.Skip("mounting a tmpfs needs root:", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	s := open(t, filepath.Join(dir, "vms.db"))
	var last vm.Instance
	var err error
	for n := 0; err == nil; n++ {
		var inst vm.Instance
		if inst, err = s.Create(t.Context(), storetest.Whole(n)); err == nil {
			last = inst
		}
	}
	require.ErrorIs(t, err, errors.ErrDatabase)
	got, err := s.Get(t.Context(), last.ID)
	require.NoError(t, err)
	require.Equal(t, last, got)
}

func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	store, err := sqlite.Open(ctx, filepath.Join(dir, "vms.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	inst, err := store.Create(ctx, vm.Instance{ID: "1d0f6a52-2a8d-4f4e-9d0c-7e1b6c1f9c11", Name: "web", State: vm.Created})
	if err != nil {
		fmt.Println(err)
		return
	}
	inst.State = vm.Starting
	_, err = store.Update(ctx, inst, vm.Created, inst.Version)
	fmt.Println("first:", err)
	_, err = store.Update(ctx, inst, vm.Created, inst.Version)
	fmt.Println("second:", err)
	// Output:
	// first: <nil>
	// second: VM web was changed by somebody else and is now starting
}
