package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// probes is a cache folder that all tests share, so that QEMU is asked once.
var probes string

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		if err := runChild(mode); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	var err error
	if probes, err = os.MkdirTemp("", "mp-cache-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(probes)
		os.Exit(code)
	}))
}

func needQEMU(t testing.TB) {
	t.Helper()
	_, err := exec.LookPath("qemu-system-x86_64")
	testhost.Needs(t, "QEMU (make setup installs it)", err)
}

// house is a Backend with folders of its own. When the test ends nothing of it may be
// left: no process, socket or lock file, descriptor or goroutine.
type house struct {
	t   testing.TB
	b   *Backend
	dir string
}

func newHouse(t testing.TB) *house {
	t.Helper()
	needQEMU(t)
	dir, err := os.MkdirTemp("", "mp-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	fds := openFiles(t)
	h := &house{t: t, dir: dir}
	h.b = h.open()
	t.Cleanup(func() {
		require.NoError(t, h.b.Close())
		require.NoError(t, h.b.Close(), "a second time")
		require.Empty(t, processesOf(t, dir), "processes")
		require.Empty(t, withoutLocks(filesBelow(t, filepath.Join(dir, "run"))), "files in the runtime folder")
		require.NoError(t, goleak.Find(goleak.IgnoreCurrent()))
		require.Equal(t, fds, openFiles(t), "descriptors")
		require.NoError(t, os.RemoveAll(dir))
	})
	return h
}

// open returns another Backend on the same folders, as another process would have.
func (h *house) open() *Backend {
	h.t.Helper()
	b, err := New(Options{RuntimeDir: filepath.Join(h.dir, "run"), LogDir: filepath.Join(h.dir, "logs"), CacheDir: probes})
	require.NoError(h.t, err)
	return b
}

func specOf(cfg vm.Config) vm.LaunchSpec {
	id := uuid.NewString()
	if cfg.Name == "" {
		cfg.Name = "vm-" + id[:8]
	}
	return vm.LaunchSpec{ID: id, Config: cfg}
}

// launch starts a guest that is killed and cleaned away when the test ends.
func (h *house) launch(spec vm.LaunchSpec) *guest {
	h.t.Helper()
	got, err := h.b.Launch(h.t.Context(), spec)
	require.NoError(h.t, err)
	g := got.(*guest)
	h.t.Cleanup(func() { h.end(g, spec) })
	return g
}

// end kills a guest, also one that was released, and cleans up after it.
func (h *house) end(g *guest, spec vm.LaunchSpec) {
	h.t.Helper()
	if !g.proc.gone() {
		_ = g.proc.signal(9)
		gone(h.t, g.Done())
	}
	require.NoError(h.t, g.Release())
	require.NoError(h.t, h.b.Clean(context.Background(), record(spec, g)))
}

// running launches a guest and connects to it.
func (h *house) running(cfg vm.Config) (*guest, vm.LaunchSpec) {
	h.t.Helper()
	spec := specOf(cfg)
	g := h.launch(spec)
	require.NoError(h.t, g.Connect(patient(h.t)))
	return g, spec
}

// record is what a manager would have stored of a guest.
func record(spec vm.LaunchSpec, g vm.Guest) vm.Instance {
	return vm.Instance{ID: spec.ID, Name: spec.Config.Name, Config: spec.Config, State: vm.Running, Runtime: g.Runtime()}
}

// ask executes a QMP command and decodes its answer.
func ask[T any](t testing.TB, g vm.Guest, command string, args any) T {
	t.Helper()
	raw, err := g.QMP().Execute(t.Context(), command, args)
	require.NoError(t, err)
	var v T
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

// gone waits until done is closed. The limit only tells a hang from a slow machine.
func gone(t testing.TB, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the guest did not end")
	}
}

// patient is a context for what takes milliseconds, so that a hang fails the test.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// promptly fails the test when fn does not return within 100 ms of now.
func promptly(t testing.TB, fn func()) {
	t.Helper()
	begun := time.Now()
	fn()
	require.Less(t, time.Since(begun), 2*time.Second)
}

func openFiles(t testing.TB) int {
	t.Helper()
	r, w, err := os.Pipe() // so that the runtime has made its poller's descriptors
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, w.Close())
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// processesOf finds the processes with dir in their command lines, as every QEMU has
// whose logs are below it.
func processesOf(t testing.TB, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), dir) {
			found = append(found, path)
		}
	}
	return found
}

func filesBelow(t testing.TB, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			found = append(found, path)
		}
		return err
	})
	require.NoError(t, err)
	return found
}

// withoutLocks leaves out what stays of a segment: the lock, and its folder.
func withoutLocks(paths []string) (rest []string) {
	for _, path := range paths {
		if !segmentName.MatchString(filepath.Base(path)) && filepath.Base(path) != "switch.lock" {
			rest = append(rest, path)
		}
	}
	return rest
}
