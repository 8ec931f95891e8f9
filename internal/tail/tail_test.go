//go:build linux

package tail_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/tail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newFollower returns a follower and a function that reads from it exactly want.
func newFollower(t *testing.T, path string) (*tail.Follower, func(want string)) {
	t.Helper()
	f, err := tail.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var got []byte
		for len(got) < len(want) {
			buf := make([]byte, min(4, len(want)-len(got)))
			n, err := f.Read(ctx, buf)
			require.NoError(t, err, "after %q", got)
			got = append(got, buf[:n]...)
		}
		require.Equal(t, want, string(got))
	}
}

func requireNothing(t *testing.T, f *tail.Follower) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	n, err := f.Read(ctx, make([]byte, 100))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, n)
}

func write(t *testing.T, path, text string, flag int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestFollowerGrowingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "one two ", os.O_APPEND)
	f, expect := newFollower(t, path)
	expect("one two ")
	requireNothing(t, f)
	write(t, path, "three", os.O_APPEND)
	expect("three")
}

func TestFollowerFileAppearsLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, expect := newFollower(t, path)
	requireNothing(t, f)
	go func() {
		time.Sleep(10 * time.Millisecond)
		_ = os.WriteFile(path, []byte("late"), 0o600)
	}()
	expect("late")
}

func TestFollowerFileIsMovedThere(t *testing.T) {
	dir := t.TempDir()
	f, expect := newFollower(t, filepath.Join(dir, "log"))
	requireNothing(t, f)
	write(t, filepath.Join(dir, "other"), "moved", 0)
	go func() {
		time.Sleep(10 * time.Millisecond)
		_ = os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "log"))
	}()
	expect("moved")
}

func TestFollowerTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "a long first text", 0)
	f, expect := newFollower(t, path)
	expect("a long first text")
	write(t, path, "short", os.O_TRUNC)
	expect("short")
	requireNothing(t, f)
	write(t, path, "", os.O_TRUNC)
	requireNothing(t, f)
	write(t, path, "again", os.O_APPEND)
	expect("again")
}

func TestFollowerReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write(t, path, "first", 0)
	f, expect := newFollower(t, path)
	expect("first")

	require.NoError(t, os.Remove(path))
	requireNothing(t, f)
	write(t, path, "second", 0)
	expect("second")

	write(t, filepath.Join(dir, "next"), "third", 0)
	require.NoError(t, os.Rename(filepath.Join(dir, "next"), path))
	expect("third")
}

func TestFollowerUnlinkedFileIsReadToItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "first", 0)
	_, expect := newFollower(t, path)
	expect("firs")
	write(t, path, " end", os.O_APPEND)
	require.NoError(t, os.Remove(path))
	write(t, path, "new", 0)
	expect("t endnew")
}

func TestFollowerSkipTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "0123456789", 0)
	f, expect := newFollower(t, path)
	f.SkipTo(7)
	expect("789")
	f.SkipTo(100)
	expect("0123456789")
}

func TestFollowerCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, expect := newFollower(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	start := time.Now()
	_, err := f.Read(ctx, make([]byte, 1))
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(start), 2*time.Second)

	// A cancelled Read loses nothing.
	write(t, path, "text", 0)
	_, err = f.Read(ctx, make([]byte, 4))
	require.ErrorIs(t, err, context.Canceled)
	expect("text")
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "target"), "secret", 0)
	require.NoError(t, os.Symlink("target", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, name := range []string{"link", "fifo", ".", "missing/log"} {
		path := filepath.Join(dir, name)
		_, err := tail.Last(path, 10)
		require.Error(t, err, name)
		err = tail.Follow(t.Context(), path, 0, func([]byte) {})
		require.Error(t, err, name)
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var want bytes.Buffer
	for i := range 5000 {
		want.WriteString("line of some text ")
		want.WriteByte(byte('a' + i%26))
		want.WriteByte('\n')
	}
	go func() {
		w, err := os.Create(path)
		if err != nil {
			return
		}
		defer w.Close()
		for b := want.Bytes(); len(b) > 0; {
			n, _ := w.Write(b[:min(777, len(b))])
			b = b[n:]
		}
	}()
	var got bytes.Buffer
	err := tail.Follow(ctx, path, 0, func(b []byte) {
		got.Write(b)
		if got.Len() >= want.Len() {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, bytes.Equal(want.Bytes(), got.Bytes()), "what was followed differs from what was written")
}

func TestLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	_, err := tail.Last(path, 10)
	require.ErrorIs(t, err, fs.ErrNotExist)
	write(t, path, "0123456789", 0)
	for n, want := range map[int]string{0: "", 3: "789", 10: "0123456789", 1000: "0123456789"} {
		got, err := tail.Last(path, n)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}
