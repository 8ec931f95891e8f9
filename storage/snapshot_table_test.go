package storage

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSnapshotTable: whatever is in a file, reading its snapshots ends, with an error or
// without, and takes no more memory than what is there.
func FuzzSnapshotTable(f *testing.F) {
	path := filepath.Join(f.TempDir(), "disk")
	if exec.Command("qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=512", path, "64K").Run() == nil {
		for _, name := range []string{"one", "two", "ä 'three'"} {
			require.NoError(f, exec.Command("qemu-img", "snapshot", "-c", name, path).Run())
			image, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(image)
		}
	}
	f.Add([]byte("QFI\xfb"))
	f.Fuzz(func(t *testing.T, image []byte) {
		in := bytes.NewReader(image)
		table, err := readSnapshotTable(in)
		if err != nil {
			return
		}
		list, err := table.read(in)
		if err != nil {
			require.Empty(t, list)
			return
		}
		require.Len(t, list, int(table.count))
		require.LessOrEqual(t, len(list)*snapshotEntrySize, len(image))
		for _, s := range list {
			require.GreaterOrEqual(t, s.Memory, int64(0))
			require.GreaterOrEqual(t, s.Size, int64(0))
			require.GreaterOrEqual(t, s.VMClock, s.VMClock*0)
		}
	})
}
