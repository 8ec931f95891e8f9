package storage_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/imagelock"
	"github.com/maqet/maqet/storage"
)

// TestKilledImgIsWaitedFor: who comes right after a qemu-img was killed is not told that it
// uses the image.
func TestKilledImgIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	m, err := storage.NewManager(storage.Options{Root: dir, Registry: &storage.MemoryRegistry{}})
	require.NoError(t, err)
	path := filepath.Join(dir, "vm", "disk.qcow2")
	_, err = m.Create(t.Context(), storage.CreateSpec{Path: path, Format: storage.FormatQcow2, Size: 64 * mib})
	require.NoError(t, err)
	for range 10 {
		busy := exec.Command("qemu-img", "bench", "-q", "-w", "-c", "1000000000", "-f", "qcow2", path)
		require.NoError(t, busy.Start())
		require.Eventually(t, func() bool { return imagelock.Of(path) == imagelock.Writing }, 30*time.Second, time.Millisecond)
		require.NoError(t, busy.Process.Kill())
		_, err := m.Usable(t.Context(), path, storage.FormatQcow2, true)
		require.Error(t, busy.Wait())
		require.NoError(t, err)
	}
}
