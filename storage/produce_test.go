package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

func plainManager(t *testing.T) *Manager {
	t.Helper()
	m, err := NewManager(Options{Root: filepath.Join(t.TempDir(), "images")})
	require.NoError(t, err)
	return m
}

// leftover makes what a killed process leaves of an image that it was making.
func leftover(t *testing.T, m *Manager, path string) string {
	t.Helper()
	path += partialSuffix
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, m.files.PutFile(t.Context(), File{Path: path, Kind: KindDisk, Format: FormatRaw, Unfinished: true}))
	require.NoError(t, os.WriteFile(path, []byte("half of"), 0o600))
	return path
}

func writes(text string) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.WriteString(text)
		return err
	}
}

// TestProduceReclaims: what a killed process left is no obstacle, what a living one works on is.
func TestProduceReclaims(t *testing.T) {
	m := plainManager(t)
	path := filepath.Join(m.root, "vm", "disk")
	partial := leftover(t, m, path)
	hold, err := imagelock.Exclude(partial)
	require.NoError(t, err)
	_, err = m.produce(t.Context(), path, For{}, Image{Format: FormatRaw}, writes("whole"))
	require.ErrorIs(t, err, errors.ErrImageInUse)
	require.FileExists(t, partial)

	hold.Release()
	img, err := m.produce(t.Context(), path, For{Owner: "vm"}.as(KindDisk), Image{Format: FormatRaw}, writes("whole"))
	require.NoError(t, err)
	require.EqualValues(t, 5, img.Size)
	require.NoFileExists(t, partial)
	files, err := m.Files(t.Context(), FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, path, files[0].Path)
	require.EqualValues(t, 5, files[0].Size, "as it has become")
}

// TestProduceIsRegisteredFirst: the row is there before the content, and says that it is partial.
func TestProduceIsRegisteredFirst(t *testing.T) {
	m := plainManager(t)
	path := filepath.Join(m.root, "disk")
	_, err := m.produce(t.Context(), path, For{Owner: "vm"}, Image{Format: FormatRaw}, func(f *os.File) error {
		files, err := m.Files(t.Context(), FileFilter{})
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.Equal(t, []any{path + partialSuffix, true, "vm"}, []any{files[0].Path, files[0].Unfinished, files[0].Owner})
		require.NoFileExists(t, path)
		return writes("x")(f)
	})
	require.NoError(t, err)
}

// TestProduceFails: nothing is left, and what others made meanwhile stays.
func TestProduceFails(t *testing.T) {
	m := plainManager(t)
	path := filepath.Join(m.root, "vm", "disk")
	_, err := m.produce(t.Context(), path, For{}, Image{Format: FormatRaw}, func(*os.File) error { return errors.New("no luck") })
	require.ErrorContains(t, err, "no luck")
	require.NoDirExists(t, filepath.Dir(path))

	_, err = m.produce(t.Context(), path, For{}, Image{Format: FormatQcow2}, writes("text"))
	require.ErrorContains(t, err, "stated to be qcow2", "what was made is looked at")
	require.NoDirExists(t, filepath.Dir(path))

	ctx, cancel := context.WithCancel(t.Context())
	_, err = m.produce(ctx, path, For{}, Image{Format: FormatRaw}, func(*os.File) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.NoDirExists(t, filepath.Dir(path))

	_, err = m.produce(t.Context(), path, For{}, Image{Format: FormatRaw}, func(*os.File) error {
		_, err := m.Create(t.Context(), CreateSpec{Path: path, Format: FormatRaw, Size: 512, For: For{Owner: "quicker"}})
		return err
	})
	require.ErrorIs(t, err, fs.ErrExist)
	files, err := m.Files(t.Context(), FileFilter{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, "quicker", files[0].Owner)
	require.FileExists(t, path)
}

// TestOneProducerWins: of many that make one image over a leftover, one does, and the others
// say why they don't.
func TestOneProducerWins(t *testing.T) {
	m := plainManager(t)
	path := filepath.Join(m.root, "disk")
	leftover(t, m, path)
	won := make(chan string, 8)
	var wg sync.WaitGroup
	for i := range cap(won) {
		wg.Go(func() {
			text := strings.Repeat(string(rune('a'+i)), 100)
			_, err := m.produce(context.Background(), path, For{}, Image{Format: FormatRaw}, writes(text))
			switch {
			case err == nil:
				won <- text
			case !errors.Is(err, fs.ErrExist) && !errors.Is(err, errors.ErrImageInUse):
				t.Errorf("unexpected error: %v", err)
			}
		})
	}
	wg.Wait()
	require.Len(t, won, 1)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, <-won, string(data))
	entries, err := os.ReadDir(m.root)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// TestReflink: where blocks can be shared nothing is copied.
func TestReflink(t *testing.T) {
	m := plainManager(t)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, []byte("content"), 0o600))
	shared := 0
	m.share = func(to, from *os.File) error {
		shared++
		require.Equal(t, source, from.Name())
		return writes("content")(to)
	}
	var last mark
	_, err := m.Clone(t.Context(), CloneSpec{Source: source, Format: FormatRaw, Path: filepath.Join(m.root, "copy"),
		Progress: func(done, total int64) { last = mark{done, total} }})
	require.NoError(t, err)
	require.Equal(t, 1, shared)
	require.Equal(t, mark{7, 7}, last)
}
