package qapi_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// concluded waits for a job's end and dismisses it. sub has JOB_STATUS_CHANGE, from
// before the job.
func concluded(t *testing.T, c *qmp.Client, sub *qmp.Subscription, id string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	_, _, err := qapi.Await(ctx, sub, func(e qapi.JobStatusChangeEvent) bool {
		return e.ID == id && e.Status == qapi.JobStatusConcluded
	})
	require.NoError(t, err)
	jobs, err := qapi.QueryJobs(ctx, c)
	require.NoError(t, err)
	i := slices.IndexFunc(jobs, func(j qapi.JobInfo) bool { return j.ID == id })
	require.Empty(t, jobs[i].Error)
	require.NoError(t, qapi.JobDismiss(ctx, c, id))
}

// qcow2 makes an image with BlockdevCreate and opens it as a node.
func qcow2(t *testing.T, c *qmp.Client, dir, node string) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	sub := c.Subscribe(qapi.EventJobStatusChange)
	defer sub.Close()
	file := filepath.Join(dir, node+".qcow2")
	require.NoError(t, qapi.BlockdevCreate(ctx, c, "create", qapi.BlockdevCreateOptions{
		Driver: qapi.BlockdevDriverFile, Filename: file,
	}))
	concluded(t, c, sub, "create")
	require.NoError(t, qapi.BlockdevAdd(ctx, c, qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverFile, NodeName: node + "-file", Filename: file, Props: map[string]any{"locking": "on"},
	}))
	require.NoError(t, qapi.BlockdevCreate(ctx, c, "format", qapi.BlockdevCreateOptions{
		Driver: qapi.BlockdevDriverQcow2, Size: 64 << 20, File: &qapi.BlockdevRef{Node: node + "-file"},
		Props: map[string]any{"cluster-size": 65536},
	}))
	concluded(t, c, sub, "format")
	require.NoError(t, qapi.BlockdevAdd(ctx, c, qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverQcow2, NodeName: node, File: &qapi.BlockdevRef{Node: node + "-file"},
		Backing: &qapi.BlockdevRef{}, Discard: qapi.BlockdevDiscardOptionsUnmap,
	}))
}

func TestBlockCommands(t *testing.T) {
	c, dir := startMachine(t)
	ctx := within(t, time.Minute)
	qcow2(t, c, dir, "over")
	qcow2(t, c, dir, "copy")
	sub := c.Subscribe(qapi.EventJobStatusChange, qapi.EventBlockJobReady)
	defer sub.Close()

	// A snapshot, and a bitmap with it or none of them.
	require.NoError(t, qapi.Transaction(ctx, c, []qapi.TransactionAction{
		{Type: qapi.TransactionActionKindBlockDirtyBitmapAdd, Data: qapi.BlockDirtyBitmapAddArgs{Node: "disk0", Name: "b0"}},
		{Type: qapi.TransactionActionKindBlockdevSnapshot, Data: qapi.BlockdevSnapshotArgs{Node: "disk0", Overlay: "over"}},
	}, nil))
	err := qapi.Transaction(ctx, c, []qapi.TransactionAction{
		{Type: qapi.TransactionActionKindBlockDirtyBitmapAdd, Data: qapi.BlockDirtyBitmapAddArgs{Node: "over", Name: "b1"}},
		{Type: qapi.TransactionActionKindAbort, Data: qapi.Abort{}},
	}, &qapi.TransactionProperties{CompletionMode: qapi.ActionCompletionModeIndividual})
	require.ErrorIs(t, err, errors.ErrQMPCommand)

	require.NoError(t, qapi.BlockdevMirror(ctx, c, qapi.BlockdevMirrorArgs{
		JobID: "mirror", Device: "over", Target: "copy", Sync: qapi.MirrorSyncModeFull, AutoDismiss: new(false),
	}))
	_, _, err = qapi.Await[qapi.BlockJobReadyEvent](ctx, sub, nil)
	require.NoError(t, err)
	jobs, err := qapi.QueryBlockJobs(ctx, c)
	require.NoError(t, err)
	require.True(t, jobs[0].Ready)
	require.NoError(t, qapi.BlockJobSetSpeed(ctx, c, "mirror", 1<<30))
	require.NoError(t, qapi.BlockJobCancel(ctx, c, "mirror", false))
	concluded(t, c, sub, "mirror")

	require.NoError(t, qapi.BlockDirtyBitmapAdd(ctx, c, qapi.BlockDirtyBitmapAddArgs{Node: "over", Name: "b2"}))
	require.NoError(t, qapi.BlockDirtyBitmapMerge(ctx, c, qapi.BlockDirtyBitmapMergeArgs{
		Node: "over", Target: "b2", Bitmaps: []qapi.BlockDirtyBitmapOrStr{{Node: "disk0", Name: "b0"}, {Name: "b2"}},
	}))
	require.NoError(t, qapi.BlockDirtyBitmapDisable(ctx, c, qapi.BlockDirtyBitmap{Node: "over", Name: "b2"}))
	require.NoError(t, qapi.BlockDirtyBitmapRemove(ctx, c, qapi.BlockDirtyBitmap{Node: "over", Name: "b2"}))
	require.NoError(t, qapi.BlockDirtyBitmapRemove(ctx, c, qapi.BlockDirtyBitmap{Node: "disk0", Name: "b0"}))

	require.NoError(t, qapi.BlockCommit(ctx, c, qapi.BlockCommitArgs{
		JobID: "commit", Device: "over", BaseNode: "disk0", AutoDismiss: new(false),
	}))
	_, _, err = qapi.Await(ctx, sub, func(e qapi.BlockJobReadyEvent) bool { return e.Device == "commit" })
	require.NoError(t, err)
	require.NoError(t, qapi.JobComplete(ctx, c, "commit"))
	concluded(t, c, sub, "commit")

	require.NoError(t, qapi.BlockdevDel(ctx, c, "over"))
	require.NoError(t, qapi.BlockResize(ctx, c, qapi.BlockResizeArgs{NodeName: "disk0", Size: 65 << 20}))
	disks, err := qapi.QueryBlock(ctx, c)
	require.NoError(t, err)
	vda := slices.IndexFunc(disks, func(b qapi.BlockInfo) bool { return b.Inserted != nil && b.Inserted.NodeName == "disk0" })
	require.NoError(t, qapi.BlockSetIOThrottle(ctx, c, qapi.BlockIOThrottle{ID: disks[vda].Qdev, IOPS: 1000}))
	require.NoError(t, qapi.BlockLatencyHistogramSet(ctx, c, qapi.BlockLatencyHistogramSetArgs{ID: disks[vda].Qdev, Boundaries: []uint64{1000, 2000}}))
	require.NoError(t, qapi.BlockSetWriteThreshold(ctx, c, "disk0", 1<<20))
	require.NoError(t, qapi.BlockdevReopen(ctx, c, qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverQcow2, NodeName: "copy", ReadOnly: true, File: &qapi.BlockdevRef{Node: "copy-file"},
		Backing: &qapi.BlockdevRef{},
	}))
	nodes, err := qapi.QueryNamedBlockNodes(ctx, c, true)
	require.NoError(t, err)
	i := slices.IndexFunc(nodes, func(n qapi.BlockDeviceInfo) bool { return n.NodeName == "copy" })
	require.True(t, nodes[i].RO)
	require.EqualValues(t, 65536, *nodes[i].Image.ClusterSize)
	require.IsType(t, qapi.ImageInfoSpecificQCow2{}, nodes[i].Image.FormatSpecific.Data)
	require.NoError(t, qapi.BlockdevDel(ctx, c, "copy"))
}

func TestSnapshotCommands(t *testing.T) {
	c := startQEMU(t, "-M", "q35", "-accel", "tcg", "-m", "32M")
	ctx := within(t, time.Minute)
	dir := t.TempDir()
	qcow2(t, c, dir, "q0")
	sub := c.Subscribe(qapi.EventJobStatusChange)
	defer sub.Close()
	require.NoError(t, qapi.SnapshotSave(ctx, c, qapi.SnapshotSaveArgs{JobID: "s", Tag: "one", Vmstate: "q0", Devices: []string{"q0"}}))
	concluded(t, c, sub, "s")
	nodes, err := qapi.QueryNamedBlockNodes(ctx, c, true)
	require.NoError(t, err)
	i := slices.IndexFunc(nodes, func(n qapi.BlockDeviceInfo) bool { return n.NodeName == "q0" })
	require.Equal(t, "one", nodes[i].Image.Snapshots[0].Name)
	require.Positive(t, nodes[i].Image.Snapshots[0].VMStateSize)
	require.NoError(t, qapi.SnapshotLoad(ctx, c, qapi.SnapshotLoadArgs{JobID: "l", Tag: "one", Vmstate: "q0", Devices: []string{"q0"}}))
	concluded(t, c, sub, "l")
	require.NoError(t, qapi.SnapshotDelete(ctx, c, qapi.SnapshotDeleteArgs{JobID: "d", Tag: "one", Devices: []string{"q0"}}))
	concluded(t, c, sub, "d")
}

func TestExportCommands(t *testing.T) {
	c, dir := startMachine(t)
	ctx := within(t, time.Minute)
	socket := filepath.Join(dir, "nbd")
	require.NoError(t, qapi.NBDServerStart(ctx, c, qapi.NbdServerOptionsLegacy{
		Addr: qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeUnix, Path: socket}, MaxConnections: new(uint32(2)),
	}))
	_, err := os.Stat(socket)
	require.NoError(t, err)
	require.NoError(t, qapi.BlockExportAdd(ctx, c, qapi.BlockExportOptions{
		Type: qapi.BlockExportTypeNBD, ID: "e0", NodeName: "disk0", Name: "disk",
	}))
	exports, err := qapi.QueryBlockExports(ctx, c)
	require.NoError(t, err)
	require.Equal(t, []qapi.BlockExportInfo{{ID: "e0", Type: qapi.BlockExportTypeNBD, NodeName: "disk0"}}, exports)
	sub := c.Subscribe(qapi.EventBlockExportDeleted)
	defer sub.Close()
	require.NoError(t, qapi.BlockExportDel(ctx, c, "e0", qapi.BlockExportRemoveModeHard))
	gone, _, err := qapi.Await[qapi.BlockExportDeletedEvent](ctx, sub, nil)
	require.NoError(t, err)
	require.Equal(t, "e0", gone.ID)
	require.NoError(t, qapi.NBDServerStop(ctx, c))
}

func TestMediumCommands(t *testing.T) {
	c, dir := startMachine(t)
	ctx := within(t, time.Minute)
	sub := c.Subscribe(qapi.EventDeviceTrayMoved)
	defer sub.Close()
	require.NoError(t, qapi.BlockdevOpenTray(ctx, c, qapi.BlockdevOpenTrayArgs{ID: "cd0"}))
	moved, _, err := qapi.Await(ctx, sub, func(e qapi.DeviceTrayMovedEvent) bool { return e.ID == "cd0" })
	require.NoError(t, err)
	require.True(t, moved.TrayOpen)
	qcow2(t, c, dir, "medium")
	require.NoError(t, qapi.BlockdevReopen(ctx, c, qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverQcow2, NodeName: "medium", ReadOnly: true, File: &qapi.BlockdevRef{Node: "medium-file"},
	}))
	require.NoError(t, qapi.BlockdevInsertMedium(ctx, c, "cd0", "medium"))
	require.NoError(t, qapi.BlockdevCloseTray(ctx, c, "cd0"))
	require.NoError(t, qapi.Eject(ctx, c, qapi.EjectArgs{ID: "cd0", Force: true}))
	require.NoError(t, qapi.BlockdevCloseTray(ctx, c, "cd0"))
	iso := filepath.Join(dir, "other.iso")
	require.NoError(t, os.WriteFile(iso, make([]byte, 1<<20), 0o600))
	require.NoError(t, qapi.BlockdevChangeMedium(ctx, c, qapi.BlockdevChangeMediumArgs{
		ID: "cd0", Filename: iso, Format: "raw", Force: true,
		ReadOnlyMode: qapi.BlockdevChangeReadOnlyModeReadOnly,
	}))
}
