package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// onFile rewrites the arguments of a "qemu-img snapshot" so that another block driver is between
// qcow2 and the file, with these options.
func onFile(driver string, args []string, options ...string) []string {
	args = slices.Clone(args)
	last := len(args) - 1
	child := map[string]string{"blkdebug": "image", "throttle": "file"}[driver]
	args[last] = strings.ReplaceAll(args[last], ",file.", ",file."+child+".") + ",file.driver=" + driver
	for _, o := range options {
		args[last] += ",file." + o
	}
	return args
}

// failingFrom is a qemu-img that can write to the image n times and then no more: what is in
// the file is what a program leaves that was killed there.
type failingFrom int

func (n failingFrom) Run(ctx context.Context, args ...string) ([]byte, error) {
	if args[0] == "snapshot" {
		options := []string{fmt.Sprintf("inject-error.0.event=pwritev,file.inject-error.0.state=%d", n)}
		for i := range int(n) - 1 {
			options = append(options, fmt.Sprintf("set-state.%d.event=pwritev,file.set-state.%d.state=%d,file.set-state.%d.new_state=%d", i, i, i+1, i, i+2))
		}
		args = onFile("blkdebug", args, options...)
	}
	out, err := exec.CommandContext(ctx, "qemu-img", args...).Output()
	if err != nil {
		return nil, &storage.RunError{Args: append([]string{"qemu-img"}, args...), Err: err}
	}
	return out, nil
}

// slow is a qemu-img that takes its time for what it writes, so that it can be killed in
// between.
type slow struct{}

func (slow) Run(ctx context.Context, args ...string) ([]byte, error) {
	if args[0] == "snapshot" {
		args = onFile("throttle", args, "throttle-group=slow")
		args = append([]string{"snapshot", "--object", "throttle-group,id=slow,x-iops-write=40"}, args[1:]...)
	}
	out, err := exec.CommandContext(ctx, "qemu-img", args...).Output()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out, err
}

// subject is an image with two snapshots and something written since: the patterns 1, 2 and 3.
func subject(t *testing.T) (image []byte) {
	t.Helper()
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), 16*mib)
	for i, name := range []string{"one", "two", ""} {
		fill(t, path, i+1)
		qemuIO(t, "-f", "qcow2", "-c", fmt.Sprintf("write -q -P %d %dM 256k", i+1, i+1), path)
		if name != "" {
			require.NoError(t, m.CreateSnapshot(t.Context(), path, name))
		}
	}
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	return image
}

// operations on the subject, and what the image holds after them.
var operations = map[string]struct {
	do    func(ctx context.Context, m *storage.Manager, path string) error
	holds int
	names []string
}{
	"create": {func(ctx context.Context, m *storage.Manager, path string) error {
		return m.CreateSnapshot(ctx, path, "new")
	}, 3, []string{"one", "two", "new"}},
	"load": {func(ctx context.Context, m *storage.Manager, path string) error {
		return m.LoadSnapshot(ctx, path, "one")
	}, 1, []string{"one", "two"}},
	"delete": {func(ctx context.Context, m *storage.Manager, path string) error {
		return m.DeleteSnapshot(ctx, path, "two")
	}, 3, []string{"one"}},
}

// requireWhole checks an image after an operation that was cut short: once it is repaired it is
// clean, holds what it held before or what it should, and so do its snapshots.
func requireWhole(t *testing.T, path, op string, cause string) {
	t.Helper()
	m, _ := manage(t)
	require.NoError(t, m.Repair(t.Context(), path), cause)
	requireClean(t, path)
	list := names(t, m, path)
	want := operations[op]
	if !slices.Equal(list, []string{"one", "two"}) {
		require.Equal(t, want.names, list, cause)
	}
	holds := func(pattern int) bool {
		return exec.Command("qemu-io", "-f", "qcow2", "-r", "-c", fmt.Sprintf("read -q -P %d 0 64k", pattern), path).Run() == nil
	}
	if !holds(3) {
		require.True(t, holds(want.holds), cause)
	}
	// Written now, it must not show in a snapshot: their reference counts are right.
	fill(t, path, 99)
	for i, name := range []string{"one", "two", "new"} {
		if slices.Contains(list, name) {
			require.NoError(t, m.LoadSnapshot(t.Context(), path, name), cause)
			requireFilled(t, path, i+1)
		}
	}
	requireClean(t, path)
}

// TestSnapshotCutShort: an operation that ends at any of its writes to the image is whole or
// has not been, once the image is repaired; nothing that was there is damaged.
func TestSnapshotCutShort(t *testing.T) {
	image := subject(t)
	for op, o := range operations {
		t.Run(op, func(t *testing.T) {
			failures := 0
			for n := 1; ; n++ {
				path := writeFile(t, filepath.Join(t.TempDir(), "disk"), string(image))
				m, _ := manageWith(t, failingFrom(n))
				err := o.do(t.Context(), m, path)
				if err == nil {
					requireFilled(t, path, o.holds)
					break
				}
				failures++
				requireWhole(t, path, op, fmt.Sprintf("%s fails at write %d: %v", op, n, err))
			}
			require.Greater(t, failures, 3, "no fault was hit")
			t.Log("writes at which it can end:", failures)
		})
	}
}

// TestSnapshotKilled: the same for a qemu-img that is killed, because ctx has ended.
func TestSnapshotKilled(t *testing.T) {
	image := subject(t)
	for op, o := range operations {
		t.Run(op, func(t *testing.T) {
			killed := 0
			for after := 20 * time.Millisecond; ; after += 30 * time.Millisecond {
				path := writeFile(t, filepath.Join(t.TempDir(), "disk"), string(image))
				m, _ := manageWith(t, slow{})
				ctx, cancel := context.WithTimeout(t.Context(), after)
				err := o.do(ctx, m, path)
				cancel()
				if err == nil {
					break
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					require.NoError(t, err)
				}
				killed++
				requireWhole(t, path, op, fmt.Sprintf("%s killed after %v", op, after))
			}
			require.NotZero(t, killed)
			t.Log("killed", killed, "times")
		})
	}
}
