//go:build cgo

package snapshot_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// saveMemory has a QEMU without a machine make a snapshot with memory in the first of the images,
// and without in the others, as one of a live VM would.
func saveMemory(t *testing.T, name string, images ...string) {
	t.Helper()
	binary, err := exec.LookPath("qemu-system-x86_64")
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	args := []string{"-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio"}
	var nodes []string
	for i, path := range images {
		node := fmt.Sprintf("n%d", i)
		nodes = append(nodes, node)
		spec, err := json.Marshal(map[string]any{"driver": "qcow2", "node-name": node, "file": map[string]any{"driver": "file", "filename": path}})
		require.NoError(t, err)
		args = append(args, "-blockdev", string(spec))
	}
	cmd := exec.Command(binary, args...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_, _ = io.WriteString(stdin, `{"execute":"quit"}`)
		require.NoError(t, cmd.Wait())
	}()
	job, err := json.Marshal(map[string]any{"execute": "snapshot-save", "arguments": map[string]any{
		"job-id": "j", "tag": name, "vmstate": nodes[0], "devices": nodes}})
	require.NoError(t, err)
	_, err = io.WriteString(stdin, `{"execute":"qmp_capabilities"}`+string(job))
	require.NoError(t, err)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var line struct {
			Event string
			Data  struct{ Status string }
			Error any
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		require.Nil(t, line.Error, lines.Text())
		if line.Data.Status == "concluded" {
			return
		}
	}
	t.Fatal("QEMU ended before its job", lines.Err())
}

// record records a snapshot with memory, as if a live VM had made it.
func (w *offline) record(t *testing.T, name string, pending snapshot.Pending, undo any) {
	t.Helper()
	rec := snapshot.Record{VM: w.vm.ID, Name: name, ID: "id-of-" + name, Kind: snapshot.Memory, Parent: w.instance(t).Snapshot, Pending: pending, Config: w.instance(t).Config,
		Vmstate: "disk0", Disks: []snapshot.RecordDisk{{Name: "disk0", Path: w.disks[0], Format: "qcow2"}, {Name: "disk1", Path: w.disks[1], Format: "qcow2"}}}
	if undo != nil {
		var err error
		rec.Undo, err = json.Marshal(undo)
		require.NoError(t, err)
	}
	require.NoError(t, w.store.PutSnapshot(t.Context(), rec))
}

// TestOfflineMemory: the load of a snapshot with memory has the next start continue from it,
// unless a cold boot is asked for, or the memory is gone; deleting it takes that back.
func TestOfflineMemory(t *testing.T) {
	w := newSubject(t)
	saveMemory(t, "-with 'memory", w.disks...)
	w.record(t, "-with 'memory", "", nil)
	w.write(t, 4)
	load := func(opts ...snapshot.Option) error { return w.Load(t.Context(), offlineVM, "-with 'memory", opts...) }

	require.NoError(t, load())
	require.Equal(t, "-with 'memory", w.instance(t).Restore)
	require.Equal(t, "-with 'memory", w.instance(t).Snapshot)
	for _, path := range w.disks {
		require.Empty(t, tool(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -q -P 3 0 64k", path))
	}
	require.NoError(t, load(snapshot.ColdBoot()))
	require.Empty(t, w.instance(t).Restore)
	require.NoError(t, load())
	require.NoError(t, w.Load(t.Context(), offlineVM, "one"))
	require.Empty(t, w.instance(t).Restore, "it is of another snapshot")
	require.NoError(t, load())
	require.NoError(t, w.Delete(t.Context(), offlineVM, "-with 'memory"))
	require.Empty(t, w.instance(t).Restore)
	require.Equal(t, "two", w.instance(t).Snapshot)
	w.requireClean(t, "one", "two")
}

// TestOfflineMemoryGone: a snapshot whose memory was lost can be booted from.
func TestOfflineMemoryGone(t *testing.T) {
	w := newSubject(t)
	w.record(t, "one", "", nil) // as if it had had memory
	requireBlocked(t, w.Load(t.Context(), offlineVM, "one"), "disk0")
	require.NoError(t, w.Load(t.Context(), offlineVM, "one", snapshot.ColdBoot()))
}

// TestOfflineMemoryRecovered: what a guest was doing to a snapshot when it ended is finished if
// all of it is there, or else undone; a load is always finished.
func TestOfflineMemoryRecovered(t *testing.T) {
	live := map[string]bool{"ran": true} // what a live VM's operations record
	t.Run("whole", func(t *testing.T) {
		w := newSubject(t)
		saveMemory(t, "new", w.disks...)
		w.record(t, "new", snapshot.Creating, live)
		require.NoError(t, mendOffline(t.Context(), w))
		w.requireClean(t, "one", "two", "new")
		require.Equal(t, "new", w.instance(t).Snapshot)
		list, err := w.List(t.Context(), offlineVM)
		require.NoError(t, err)
		for _, s := range list {
			require.Equal(t, s.Name == "new", s.Size > 0)
		}
	})
	t.Run("not on all disks", func(t *testing.T) {
		w := newSubject(t)
		saveMemory(t, "new", w.disks[0])
		w.record(t, "new", snapshot.Creating, live)
		require.NoError(t, mendOffline(t.Context(), w))
		w.requireClean(t, "one", "two")
		require.Equal(t, "two", w.instance(t).Snapshot)
	})
	t.Run("without memory", func(t *testing.T) {
		w := newSubject(t)
		for _, path := range w.disks {
			tool(t, "qemu-img", "snapshot", "-c", "new", path)
		}
		w.record(t, "new", snapshot.Creating, live)
		require.NoError(t, mendOffline(t.Context(), w))
		w.requireClean(t, "one", "two")
	})
	t.Run("deleting", func(t *testing.T) {
		w := newSubject(t)
		saveMemory(t, "new", w.disks...)
		w.record(t, "new", snapshot.Deleting, live)
		tool(t, "qemu-img", "snapshot", "-d", "new", w.disks[1])
		require.NoError(t, mendOffline(t.Context(), w))
		w.requireClean(t, "one", "two")
	})
	t.Run("loading", func(t *testing.T) {
		w := newSubject(t)
		saveMemory(t, "new", w.disks...)
		w.write(t, 4)
		w.record(t, "new", snapshot.Loading, live)
		tool(t, "qemu-img", "snapshot", "-a", "new", w.disks[1]) // as far as the guest came
		require.NoError(t, mendOffline(t.Context(), w))
		w.requireClean(t, "one", "two", "new")
		for _, path := range w.disks {
			require.Empty(t, tool(t, "qemu-io", "-f", "qcow2", "-r", "-c", "read -q -P 3 0 64k", path))
		}
		require.Equal(t, vm.Instance{Snapshot: "new"}, vm.Instance{Snapshot: w.instance(t).Snapshot, Restore: w.instance(t).Restore})
	})
}

// TestLiveNameLimit: QEMU's own job cuts a name where qemu-img does, so that what is allowed is
// kept by both.
func TestLiveNameLimit(t *testing.T) {
	w := newOffline(t)
	for name, kept := range map[string]string{
		strings.Repeat("x", 255): strings.Repeat("x", 255), strings.Repeat("ä", 127) + "x": strings.Repeat("ä", 127) + "x",
		strings.Repeat("y", 256): strings.Repeat("y", 255),
	} {
		path := w.disks[0]
		saveMemory(t, name, path)
		list, err := w.storage.Snapshots(t.Context(), path)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, kept, list[0].Name)
		require.NoError(t, w.storage.DeleteSnapshot(t.Context(), path, kept))
	}
}
