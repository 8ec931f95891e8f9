package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/backendtest"
)

// TestConformance: this backend keeps the promises of every backend.
func TestConformance(t *testing.T) {
	needQEMU(t)
	backendtest.Run(t, backendtest.Options{New: newConformanceHouse})
}

func newConformanceHouse(tb testing.TB) backendtest.Harness {
	dir, err := os.MkdirTemp("", "mp-")
	require.NoError(tb, err)
	h := &house{t: tb, dir: dir}
	require.NoError(tb, h.open().Close()) // makes the folders
	fds := openFiles(tb)
	tb.Cleanup(func() {
		require.NoError(tb, goleak.Find(goleak.IgnoreCurrent()))
		require.Equal(tb, fds, openFiles(tb), "descriptors")
		require.NoError(tb, os.RemoveAll(dir))
	})
	return backendtest.Harness{
		Open: func(testing.TB) vm.Backend { return h.open() },
		Kill: func(tb testing.TB, inst vm.Instance) {
			handle, err := proc.Open(proc.ID(inst.Runtime.Process))
			require.NoError(tb, err)
			require.NoError(tb, handle.Signal(unix.SIGKILL))
			require.NoError(tb, handle.Close())
		},
		Left: func(tb testing.TB) []string {
			return append(processesOf(tb, dir), append(withoutLocks(filesBelow(tb, filepath.Join(dir, "run"))), filesBelow(tb, filepath.Join(dir, "logs"))...)...)
		},
	}
}
