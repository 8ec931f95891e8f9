//go:build cgo

package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// Environment variables of a process that is killed at a step of an operation.
const (
	dyingIn   = "MAQET_TEST_DYING_IN"   // folder
	dyingDo   = "MAQET_TEST_DYING_DO"   // operation
	dyingStep = "MAQET_TEST_DYING_STEP" // number of the step
)

// offlineOps are the operations that are cut short, and what the VM holds after them. Before, it
// has the snapshots "one" and "two" of the patterns 1 and 2, stands on "two", and holds 3.
var offlineOps = map[string]struct {
	do    func(ctx context.Context, w *offline) error
	holds int
	names []string
	on    string
}{
	"create": {func(ctx context.Context, w *offline) error {
		_, err := w.Create(ctx, offlineVM, "new")
		return err
	}, 3, []string{"one", "two", "new"}, "new"},
	"load":   {func(ctx context.Context, w *offline) error { return w.Load(ctx, offlineVM, "one") }, 1, []string{"one", "two"}, "one"},
	"delete": {func(ctx context.Context, w *offline) error { return w.Delete(ctx, offlineVM, "two") }, 3, []string{"one"}, "one"},
	"mend":   {mendOffline, 3, []string{"one", "two"}, "two"},
}

// mendOffline does what every operation begins with.
func mendOffline(ctx context.Context, w *offline) error {
	r, err := w.vms.Reserve(ctx, offlineVM)
	if err != nil {
		return err
	}
	defer r.Release()
	return w.keeper.Recover(r.Context(), r)
}

// newSubject is a VM to cut operations short on.
func newSubject(t testing.TB) *offline {
	t.Helper()
	w := newOffline(t)
	w.write(t, 1)
	w.create(t, "one")
	w.write(t, 2)
	w.create(t, "two")
	w.write(t, 3)
	return w
}

// checkpoint returns a function that makes everything what it is now.
func (w *offline) checkpoint(t testing.TB) (reset func()) {
	t.Helper()
	files := map[string][]byte{}
	for _, path := range append([]string{w.state}, w.disks...) {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		files[path] = data
	}
	copies := filepath.Join(w.dir, "state", w.vm.ID+".snapshots")
	kept := t.TempDir()
	require.NoError(t, os.CopyFS(kept, os.DirFS(copies)))
	records, err := w.store.Snapshots(t.Context(), w.vm.ID)
	require.NoError(t, err)
	inst := w.instance(t)
	return func() {
		t.Helper()
		for path, data := range files {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, data, 0o600))
		}
		require.NoError(t, os.RemoveAll(copies))
		require.NoError(t, os.CopyFS(copies, os.DirFS(kept)))
		require.NoError(t, w.store.DropSnapshot(t.Context(), w.vm.ID, "new"))
		for _, rec := range records {
			require.NoError(t, w.store.PutSnapshot(t.Context(), rec))
		}
		r, err := w.vms.Reserve(t.Context(), offlineVM)
		require.NoError(t, err)
		require.NoError(t, r.Update(t.Context(), func(i *vm.Instance) { i.Snapshot, i.Restore = inst.Snapshot, inst.Restore }))
		r.Release()
	}
}

// TestOfflineChild is the process that is killed: it does nothing in a run of tests.
func TestOfflineChild(t *testing.T) {
	dir := os.Getenv(dyingIn)
	if dir == "" {
		return
	}
	step, err := strconv.Atoi(os.Getenv(dyingStep))
	require.NoError(t, err)
	w, _, err := openOffline(dir, offlineOptions{onStep: func(_ context.Context, name string) {
		if step--; step == 0 {
			fmt.Println(name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	require.NoError(t, err)
	require.NoError(t, offlineOps[os.Getenv(dyingDo)].do(t.Context(), w))
	os.Exit(0)
}

// kill has another process do an operation, which is killed at this step. It returns the step's
// name, empty if the operation came to its end before.
func (w *offline) kill(t testing.TB, op string, step int) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOfflineChild$")
	cmd.Env = append(os.Environ(), dyingIn+"="+w.dir, dyingDo+"="+op, dyingStep+"="+strconv.Itoa(step))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
	return string(out)
}

// requireWhole checks a VM on which an operation was cut short: the next operation mends it, and
// then it is all as before or all as after it.
func (w *offline) requireWhole(t testing.TB, op, cause string) {
	t.Helper()
	require.NoError(t, mendOffline(t.Context(), w), cause)
	want, list := offlineOps[op], []string{"one", "two"}
	if w.instance(t).Snapshot == want.on {
		list = want.names
		require.Equal(t, want.holds, w.holds(t), cause)
	} else {
		require.Equal(t, "two", w.instance(t).Snapshot, cause)
		require.Equal(t, 3, w.holds(t), cause)
	}
	w.requireClean(t, list...)
}

// requireWorks checks that the next operation works, also on what the last one left.
func (w *offline) requireWorks(t testing.TB, cause string) {
	t.Helper()
	last := w.instance(t).Snapshot
	require.NoError(t, w.Load(t.Context(), offlineVM, last), cause)
	require.Equal(t, map[string]int{"one": 1, "two": 2, "new": 3}[last], w.holds(t), cause)
}

// TestOfflineKilled: a process that is killed at any step leaves an operation that the next one
// finishes or undoes, in full.
func TestOfflineKilled(t *testing.T) {
	for _, op := range []string{"create", "load", "delete"} {
		t.Run(op, func(t *testing.T) {
			w := newSubject(t)
			reset := w.checkpoint(t)
			for step := 1; ; step++ {
				reset()
				name := w.kill(t, op, step)
				if name == "" {
					require.Greater(t, step, 4, "no step was hit")
					w.requireWhole(t, op, "at its end")
					return
				}
				cause := fmt.Sprintf("%s killed at step %d, %s", op, step, name)
				w.requireWhole(t, op, cause)
				w.requireWorks(t, cause)
			}
		})
	}
}

// TestOfflineKilledTwice: so does one that is killed while it mends.
func TestOfflineKilledTwice(t *testing.T) {
	for op, middle := range map[string]int{"create": 4, "load": 6, "delete": 3} {
		t.Run(op, func(t *testing.T) {
			w := newSubject(t)
			reset := w.checkpoint(t)
			for step := 1; ; step++ {
				reset()
				require.NotEmpty(t, w.kill(t, op, middle))
				name := w.kill(t, "mend", step)
				w.requireWhole(t, op, fmt.Sprintf("%s killed in the middle, then mending killed at step %d, %s", op, step, name))
				if name == "" {
					require.Greater(t, step, 3, "no step was hit")
					return
				}
			}
		})
	}
}
