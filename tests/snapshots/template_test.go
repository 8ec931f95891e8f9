package snapshots_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
)

// base is a snapshot that each template has, of generation 1. The disks hold generation 2.
const base = "base"

// Templates: by which kind of snapshot base is.
const (
	withInternal = "internal"
	withMemory   = "memory"
	withExternal = "external"
)

// template is a folder with the victim, which can be brought back to what it was.
type template struct {
	t   *testing.T
	dir string
}

// newTemplate makes one. The folder has a short path, which leaves room for the names of sockets.
func newTemplate(t *testing.T, kind string) *template {
	t.Helper()
	top := shortDir(t)
	tp := &template{t, filepath.Join(top, "d")}
	require.NoError(t, os.Mkdir(tp.dir, 0o700))
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", broughtPath(tp.dir), strconv.Itoa(diskSize)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	p := openVictim(t, tp.dir)
	_, err = p.m.VM.Add(t.Context(), victimConfig(tp.dir))
	require.NoError(t, err)
	p.start()
	p.write(1)
	switch kind {
	case withInternal:
		p.stop()
		_, err = p.m.Snapshot.Create(t.Context(), victim, base)
	case withMemory:
		_, err = p.m.Snapshot.Create(t.Context(), victim, base)
	case withExternal:
		_, err = p.m.Snapshot.Create(t.Context(), victim, base, snapshot.DiskOnly())
	}
	require.NoError(t, err)
	p.write(2)
	p.stop()
	p.close()
	cp(t, tp.dir, tp.saved())
	return tp
}

func (tp *template) saved() string { return tp.dir + ".saved" }

// reset brings the folder back.
func (tp *template) reset(t *testing.T) {
	t.Helper()
	require.Empty(t, processesOf(t, tp.dir))
	require.NoError(t, os.RemoveAll(tp.dir))
	cp(t, tp.saved(), tp.dir)
}

// abandon ends what a test that failed has left, for the next one.
func (tp *template) abandon(t *testing.T) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for _, pid := range processesOf(t, tp.dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	require.Eventually(t, func() bool { return len(processesOf(t, tp.dir)) == 0 }, patience, 5*time.Millisecond)
}

// cp copies a folder; holes stay holes.
func cp(t *testing.T, from, to string) {
	t.Helper()
	out, err := exec.Command("cp", "-a", "--reflink=auto", "--sparse=always", from, to).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// shortDir returns a folder that is removed, with everything that runs in it, when the test ends.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mqs-")
	require.NoError(t, err)
	t.Cleanup(func() {
		left := processesOf(t, dir)
		for _, pid := range left { // a test that failed must not leave its guest to the next run
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		require.NoError(t, os.RemoveAll(dir))
		require.True(t, t.Failed() || len(left) == 0, "processes left: %v", left)
	})
	return dir
}

// processesOf finds the processes that have something below dir in their command line.
func processesOf(t *testing.T, dir string) (pids []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), dir+"/") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}
