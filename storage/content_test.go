package storage_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// filled is what a disk of some MiB holds: data at some places, and zeros between them, all by
// chance, but always the same for a seed.
func filled(seed uint64, mibs int) []byte {
	data := make([]byte, mibs*mib)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 4 * mibs {
		at, size := r.IntN(len(data)), r.IntN(mib/8)
		for i := at; i < min(at+size, len(data)); i++ {
			data[i] = byte(r.Uint32())
		}
	}
	return data
}

// imageOf makes an image outside of a manager's root that holds data.
func imageOf(t testing.TB, format string, data []byte, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	f, err := os.Create(raw)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(int64(len(data))))
	zeros := make([]byte, 4096)
	for at := 0; at < len(data); at += len(zeros) {
		if part := data[at:min(at+len(zeros), len(data))]; !bytes.Equal(part, zeros[:len(part)]) {
			_, err := f.WriteAt(part, int64(at))
			require.NoError(t, err)
		}
	}
	if format == storage.FormatRaw {
		return raw
	}
	path := filepath.Join(dir, "disk."+format)
	qemuImg(t, append(append([]string{"convert", "-f", "raw", "-O", format}, args...), raw, path)...)
	return path
}

// patch writes data into an image with a program that QEMU brings.
func patch(t testing.TB, path, format string, at int, data []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	qemuIO(t, "-f", format, "-c", "write -s "+file+" "+itoa(at)+" "+itoa(len(data)), path)
}

// contentOf returns what a guest sees of an image.
func contentOf(t testing.TB, path, format string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "content")
	qemuImg(t, "convert", "-f", format, "-O", "raw", path, raw)
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	return data
}

// requireContent fails unless a guest sees want.
func requireContent(t testing.TB, want []byte, path, format string) {
	t.Helper()
	require.True(t, bytes.Equal(want, contentOf(t, path, format)), "%s has another content", path)
}

// requireRow fails unless the image at a path is registered as it is.
func requireRow(t testing.TB, m *storage.Manager, img storage.Image) storage.File {
	t.Helper()
	files, err := m.Files(t.Context(), storage.FileFilter{Path: img.Path})
	require.NoError(t, err)
	require.Len(t, files, 1)
	f := files[0]
	require.False(t, f.Unfinished)
	require.Equal(t, []any{img.Format, img.Size, img.Base}, []any{f.Format, f.Size, f.Base})
	got, err := m.Inspect(t.Context(), img.Path, img.Format)
	require.NoError(t, err)
	img.Allocated, got.Allocated = 0, 0 // the file system settles it later
	require.Equal(t, img, got)
	return f
}

// requireNoRows fails if anything is registered.
func requireNoRows(t testing.TB, m *storage.Manager) {
	t.Helper()
	files, err := m.Files(context.Background(), storage.FileFilter{})
	require.NoError(t, err)
	require.Empty(t, files)
}

// progress notes what an operation reports, and fails if that goes backwards.
type progress struct {
	t     testing.TB
	calls int
	done  int64
	total int64
}

func (p *progress) report(done, total int64) {
	if done < p.done || done > total || p.calls > 0 && total != p.total {
		p.t.Errorf("progress went from %d of %d to %d of %d", p.done, p.total, done, total)
	}
	p.calls++
	p.done, p.total = done, total
}

func (p *progress) requireDone(t testing.TB) {
	t.Helper()
	require.Positive(t, p.calls)
	require.Positive(t, p.total)
	require.Equal(t, p.total, p.done)
}
