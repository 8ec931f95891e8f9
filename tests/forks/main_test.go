package forks_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// taskEnv makes the test binary another process that uses maqet; see child_test.go.
const taskEnv = "MAQET_TEST_TASK"

func TestMain(m *testing.M) {
	if text := os.Getenv(taskEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience is only ever reached by what hangs.
const patience = 2 * time.Minute

// shortDir returns a folder whose path leaves room for the names of sockets. It is removed, with
// everything that runs in it, when the test ends.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mqf-")
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

// place is a folder of maqet's as this process finds it.
type place struct {
	t   *testing.T
	dir string
	ref string // of the VM whose monitor is asked
	m   *maqet.Maqet
}

func open(t *testing.T, dir string) *place {
	t.Helper()
	m, err := maqet.New(maqet.WithDir(dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return &place{t, dir, subject, m}
}

// sweep clears away what others have left, and returns what that was.
func (p *place) sweep() (removed []string) {
	p.t.Helper()
	report, err := p.m.Cleanup.Sweep(p.t.Context())
	require.NoError(p.t, err)
	for _, row := range report.Rows {
		removed = append(removed, row.Action+" "+row.Name)
	}
	return removed
}

func (p *place) get(ref string) vm.Instance {
	p.t.Helper()
	inst, err := p.m.VM.Get(p.t.Context(), ref)
	require.NoError(p.t, err)
	return inst
}

// names lists the VMs that are recorded.
func (p *place) names() (names []string) {
	p.t.Helper()
	list, err := p.m.VM.List(p.t.Context(), vm.Filter{})
	require.NoError(p.t, err)
	for _, inst := range list {
		names = append(names, inst.Name)
	}
	return names
}

func (p *place) remove(ref string) {
	p.t.Helper()
	require.NoError(p.t, p.m.VM.Remove(p.t.Context(), ref, vm.ForceRemove(), vm.DeleteImages()))
}

// requireImages compares the images that are there with those that are registered.
func (p *place) requireImages() (paths []string) {
	p.t.Helper()
	files, err := p.m.Storage.Files(p.t.Context(), storage.FileFilter{})
	require.NoError(p.t, err)
	var registered []string
	for _, f := range files {
		require.False(p.t, f.Unfinished, "%+v", f)
		registered = append(registered, f.Path)
	}
	err = filepath.WalkDir(filepath.Join(p.dir, "images"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if !os.IsNotExist(err) {
		require.NoError(p.t, err)
	}
	require.ElementsMatch(p.t, paths, registered)
	return paths
}

// requireNothing fails if there is anything but what is always there.
func (p *place) requireNothing() {
	p.t.Helper()
	require.Empty(p.t, p.names())
	require.Empty(p.t, p.requireImages())
	require.Empty(p.t, p.templateFolders())
	require.Empty(p.t, processesOf(p.t, p.dir))
	for _, where := range []string{"run/*", "vms/*", "images/*"} {
		left, err := filepath.Glob(filepath.Join(p.dir, where))
		require.NoError(p.t, err)
		require.Empty(p.t, left)
	}
}

// templateFolders are those of templates, of whatever state.
func (p *place) templateFolders() (names []string) {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.dir, "templates"))
	if !os.IsNotExist(err) {
		require.NoError(p.t, err)
	}
	for _, e := range entries {
		if e.Name() != ".locks" {
			names = append(names, e.Name())
		}
	}
	return names
}
