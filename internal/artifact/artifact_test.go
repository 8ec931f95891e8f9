//go:build linux

package artifact

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// settle waits until a file that was just written is old enough to be relied on.
func settle() { time.Sleep(settleTime + 20*time.Millisecond) }

// copying returns a recipe whose result is the content of path, and its count of runs.
func copying(path string) (Recipe, *atomic.Int32) {
	runs := new(atomic.Int32)
	return Recipe{Key: "copy " + path, Suffix: ".txt", Make: func(_ context.Context, w io.Writer, in *Inputs) error {
		runs.Add(1)
		if err := in.Add(path); err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}}, runs
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestMadeOnceByParallelCallers(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("hello"), 0o600))
	settle()
	c := Cache{Dir: filepath.Join(t.TempDir(), "cache")}
	recipe, runs := copying(src)
	var wg sync.WaitGroup
	paths := make([]string, 16)
	for i := range paths {
		wg.Go(func() {
			path, err := c.File(t.Context(), recipe)
			if err == nil {
				paths[i] = path
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, runs.Load())
	for _, p := range paths {
		require.Equal(t, paths[0], p)
	}
	text, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	require.Equal(t, "hello", string(text))
	info, err := os.Stat(paths[0])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	dir, err := os.Stat(c.Dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())
}

func TestChangedInputIsSeen(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("one"), 0o600))
	old, err := os.Stat(src)
	require.NoError(t, err)
	settle()
	c := Cache{Dir: t.TempDir()}
	recipe, runs := copying(src)
	first, err := c.File(t.Context(), recipe)
	require.NoError(t, err)

	// The same size and the same date: only the change time tells.
	require.NoError(t, os.WriteFile(src, []byte("two"), 0o600))
	require.NoError(t, os.Chtimes(src, old.ModTime(), old.ModTime()))
	second, err := c.File(t.Context(), recipe)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.EqualValues(t, 2, runs.Load())
	text, err := os.ReadFile(second)
	require.NoError(t, err)
	require.Equal(t, "two", string(text))
}

func TestFreshInputIsNotTrusted(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("one"), 0o600))
	recipe, runs := copying(src)
	c := Cache{Dir: t.TempDir()}
	for range 2 {
		_, err := c.File(t.Context(), recipe)
		require.NoError(t, err)
	}
	require.EqualValues(t, 2, runs.Load(), "it may change again within one tick of the file system's clock")
}

func TestMissingInputThatAppears(t *testing.T) {
	optional := filepath.Join(t.TempDir(), "optional")
	c := Cache{Dir: t.TempDir()}
	var runs int
	recipe := Recipe{Key: "k", Make: func(_ context.Context, w io.Writer, in *Inputs) error {
		runs++
		_, err := io.WriteString(w, "x")
		return errors.Join(in.Add(optional), err)
	}}
	for range 2 {
		_, err := c.File(t.Context(), recipe)
		require.NoError(t, err)
	}
	require.Equal(t, 1, runs)
	require.NoError(t, os.WriteFile(optional, nil, 0o600))
	_, err := c.File(t.Context(), recipe)
	require.NoError(t, err)
	require.Equal(t, 2, runs)
}

func TestFailureLeavesNothing(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	boom := errors.New("boom")
	_, err := c.File(t.Context(), Recipe{Key: "k", Make: func(_ context.Context, w io.Writer, _ *Inputs) error {
		_, _ = io.WriteString(w, "half")
		return boom
	}})
	require.ErrorIs(t, err, boom)
	require.Equal(t, []string{"lock"}, names(t, c.Dir))
}

func TestCancelledWhileMaking(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	_, err := c.File(ctx, Recipe{Key: "k", Make: func(_ context.Context, w io.Writer, _ *Inputs) error {
		cancel()
		for {
			if _, err := io.WriteString(w, "more"); err != nil {
				return err
			}
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(start), 2*time.Second)
	require.Equal(t, []string{"lock"}, names(t, c.Dir))
}

func TestCancelledWhileAnotherMakes(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	started, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = c.File(t.Context(), Recipe{Key: "slow", Make: func(context.Context, io.Writer, *Inputs) error {
			close(started)
			<-release
			return nil
		}})
	})
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.File(ctx, Recipe{Key: "other"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	wg.Wait()
}

func TestDamagedResultIsMadeAgain(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("hello"), 0o600))
	settle()
	c := Cache{Dir: t.TempDir()}
	recipe, runs := copying(src)
	path, err := c.File(t.Context(), recipe)
	require.NoError(t, err)
	for _, damage := range []func() error{
		func() error { return os.Truncate(path, 2) },
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(c.notePath(recipe), []byte("{"), 0o600) },
	} {
		before := runs.Load()
		require.NoError(t, damage())
		again, err := c.File(t.Context(), recipe)
		require.NoError(t, err)
		require.Equal(t, path, again)
		require.Equal(t, before+1, runs.Load())
	}
}

func TestPruneRemovesWhatNobodyUses(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("hello"), 0o600))
	c := Cache{Dir: t.TempDir()}
	stale := filepath.Join(c.Dir, "old.elf")
	half := filepath.Join(c.Dir, tempPrefix+"1")
	recent := filepath.Join(c.Dir, "recent.elf")
	for _, p := range []string{stale, half, recent} {
		require.NoError(t, os.WriteFile(p, nil, 0o600))
	}
	past := time.Now().Add(-keepUnused - time.Hour)
	require.NoError(t, os.Chtimes(stale, past, past))
	recipe, _ := copying(src)
	_, err := c.File(t.Context(), recipe)
	require.NoError(t, err)
	require.NoFileExists(t, stale)
	require.NoFileExists(t, half)
	require.FileExists(t, recent)
}

func TestUseKeepsAFile(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	require.NoError(t, os.WriteFile(src, []byte("hello"), 0o600))
	settle()
	c := Cache{Dir: t.TempDir()}
	recipe, _ := copying(src)
	path, err := c.File(t.Context(), recipe)
	require.NoError(t, err)
	past := time.Now().Add(-keepUnused - time.Hour)
	require.NoError(t, os.Chtimes(path, past, past))
	_, err = c.File(t.Context(), recipe)
	require.NoError(t, err)
	c.prune(time.Now())
	require.FileExists(t, path)
}
