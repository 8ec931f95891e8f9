//go:build linux

package inotify_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/inotify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newWatcher(t *testing.T) *inotify.Watcher {
	t.Helper()
	w, err := inotify.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// wait returns the events until one of that name and mask has come.
func wait(t *testing.T, w *inotify.Watcher, watch int, name string, mask uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		events, err := w.Wait(ctx)
		require.NoError(t, err)
		for _, e := range events {
			if e.Watch == watch && e.Name == name && e.Mask&mask != 0 {
				return
			}
		}
	}
}

func TestEvents(t *testing.T) {
	dir := t.TempDir()
	w := newWatcher(t)
	folder, err := w.Add(dir, unix.IN_CREATE|unix.IN_DELETE)
	require.NoError(t, err)
	for _, name := range []string{"a", "with space", strings.Repeat("x", 255)} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		wait(t, w, folder, name, unix.IN_CREATE)
		file, err := w.Add(path, unix.IN_MODIFY)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		wait(t, w, file, "", unix.IN_MODIFY)
		require.NoError(t, os.Remove(path))
		wait(t, w, folder, name, unix.IN_DELETE)
		require.NoError(t, w.Remove(file), "the kernel ended it already")
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	w := newWatcher(t)
	watch, err := w.Add(dir, unix.IN_CREATE)
	require.NoError(t, err)
	require.NoError(t, w.Remove(watch))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	events, err := w.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, []inotify.Event{{Watch: watch, Mask: unix.IN_IGNORED}}, events)
}

func TestAddMissing(t *testing.T) {
	_, err := newWatcher(t).Add("/nonexistent/file", unix.IN_MODIFY)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "/nonexistent/file")
}

func TestWaitEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	w := newWatcher(t)
	watch, err := w.Add(dir, unix.IN_CREATE)
	require.NoError(t, err)
	for range 100 { // an end that comes late must not cut off the next Wait
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
		_, err := w.Wait(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	wait(t, w, watch, "a", unix.IN_CREATE)
}

func TestCloseEndsWait(t *testing.T) {
	w := newWatcher(t)
	failed := make(chan error, 1)
	go func() {
		_, err := w.Wait(context.Background())
		failed <- err
	}()
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, w.Close())
	require.ErrorIs(t, <-failed, os.ErrClosed)
	_, err := w.Add("/", unix.IN_MODIFY)
	require.Error(t, err)
}
