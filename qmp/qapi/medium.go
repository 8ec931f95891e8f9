package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// BlockResize changes the size of a device, or node, in bytes. The guest sees it at once.
func BlockResize(ctx context.Context, e qmp.Executor, args BlockResizeArgs) error {
	return run(ctx, e, "block_resize", args)
}

// BlockSetIOThrottle limits the speed of a device.
func BlockSetIOThrottle(ctx context.Context, e qmp.Executor, args BlockIOThrottle) error {
	return run(ctx, e, "block_set_io_throttle", args)
}

// BlockSetWriteThreshold asks for a [BlockWriteThresholdEvent] once the guest writes
// beyond an offset in bytes; 0 asks for none. It must be asked for again after it came.
func BlockSetWriteThreshold(ctx context.Context, e qmp.Executor, nodeName string, writeThreshold uint64) error {
	return run(ctx, e, "block-set-write-threshold", struct {
		NodeName       string `json:"node-name"`
		WriteThreshold uint64 `json:"write-threshold"`
	}{nodeName, writeThreshold})
}

// BlockLatencyHistogramSet makes a device count its operations by latency, in
// [BlockDeviceStats], or stop when there are no boundaries.
func BlockLatencyHistogramSet(ctx context.Context, e qmp.Executor, args BlockLatencyHistogramSetArgs) error {
	return run(ctx, e, "block-latency-histogram-set", args)
}

// BlockdevOpenTray opens a tray. A guest that has locked it is asked to open it unless
// Force is set; [DeviceTrayMovedEvent] says that it has.
func BlockdevOpenTray(ctx context.Context, e qmp.Executor, args BlockdevOpenTrayArgs) error {
	return run(ctx, e, "blockdev-open-tray", args)
}

// BlockdevCloseTray closes a tray. id is the device's Qdev in [BlockInfo].
func BlockdevCloseTray(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "blockdev-close-tray", idArgs{id})
}

// BlockdevInsertMedium puts a block node into an empty device with an open tray. id is
// the device's Qdev in [BlockInfo].
func BlockdevInsertMedium(ctx context.Context, e qmp.Executor, id, nodeName string) error {
	return run(ctx, e, "blockdev-insert-medium", struct {
		ID       string `json:"id"`
		NodeName string `json:"node-name"`
	}{id, nodeName})
}

// BlockdevRemoveMedium takes the medium out of a device with an open tray. The block node
// stays. id is the device's Qdev in [BlockInfo].
func BlockdevRemoveMedium(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "blockdev-remove-medium", idArgs{id})
}

// BlockdevChangeMedium opens the tray, changes the medium to an image and closes the
// tray.
func BlockdevChangeMedium(ctx context.Context, e qmp.Executor, args BlockdevChangeMediumArgs) error {
	return run(ctx, e, "blockdev-change-medium", args)
}

// Eject removes the medium; see [BlockdevOpenTray] about Force.
func Eject(ctx context.Context, e qmp.Executor, args EjectArgs) error {
	return run(ctx, e, "eject", args)
}

// BlockResizeArgs are the arguments of block_resize.
type BlockResizeArgs struct {
	Device   string `json:"device,omitempty"`    // id of the -drive, or
	NodeName string `json:"node-name,omitempty"` // the node
	Size     int64  `json:"size"`                // bytes
}

// BlockLatencyHistogramSetArgs are the arguments of block-latency-histogram-set, in
// nanoseconds.
type BlockLatencyHistogramSetArgs struct {
	ID string `json:"id"` // Qdev in BlockInfo
	// Of all kinds of operations that have none of their own.
	Boundaries      []uint64 `json:"boundaries,omitempty"`
	BoundariesRead  []uint64 `json:"boundaries-read,omitempty"`
	BoundariesWrite []uint64 `json:"boundaries-write,omitempty"`
	BoundariesZap   []uint64 `json:"boundaries-zap,omitempty"` // QEMU 8.1
	BoundariesFlush []uint64 `json:"boundaries-flush,omitempty"`
}

// BlockdevOpenTrayArgs are the arguments of blockdev-open-tray.
type BlockdevOpenTrayArgs struct {
	ID    string `json:"id,omitempty"` // Qdev in BlockInfo
	Force bool   `json:"force,omitempty"`
}

// EjectArgs are the arguments of eject.
type EjectArgs struct {
	ID    string `json:"id,omitempty"` // Qdev in BlockInfo
	Force bool   `json:"force,omitempty"`
}

// BlockdevChangeMediumArgs are the arguments of blockdev-change-medium.
type BlockdevChangeMediumArgs struct {
	ID       string `json:"id,omitempty"` // Qdev in BlockInfo
	Filename string `json:"filename"`
	// Give it: QEMU guesses otherwise, from what the guest can write.
	Format       string                     `json:"format,omitempty"`
	Force        bool                       `json:"force,omitempty"`          // even if the guest has locked the tray
	ReadOnlyMode BlockdevChangeReadOnlyMode `json:"read-only-mode,omitempty"` // default: retain
}

// BlockdevChangeReadOnlyMode says whether the new medium can be written.
type BlockdevChangeReadOnlyMode string

// Values of BlockdevChangeReadOnlyMode.
const (
	BlockdevChangeReadOnlyModeRetain    BlockdevChangeReadOnlyMode = "retain" // as the one before
	BlockdevChangeReadOnlyModeReadOnly  BlockdevChangeReadOnlyMode = "read-only"
	BlockdevChangeReadOnlyModeReadWrite BlockdevChangeReadOnlyMode = "read-write"
)

// BlockIOThrottle are the arguments of block_set_io_throttle. A limit of 0 is none. Max
// is what a burst may reach, for as long as its length in seconds (default 1).
type BlockIOThrottle struct {
	ID              string `json:"id,omitempty"` // Qdev in BlockInfo
	BPS             int64  `json:"bps"`          // bytes a second
	BPSRd           int64  `json:"bps_rd"`
	BPSWr           int64  `json:"bps_wr"`
	IOPS            int64  `json:"iops"` // operations a second
	IOPSRd          int64  `json:"iops_rd"`
	IOPSWr          int64  `json:"iops_wr"`
	BPSMax          int64  `json:"bps_max,omitempty"`
	BPSRdMax        int64  `json:"bps_rd_max,omitempty"`
	BPSWrMax        int64  `json:"bps_wr_max,omitempty"`
	IOPSMax         int64  `json:"iops_max,omitempty"`
	IOPSRdMax       int64  `json:"iops_rd_max,omitempty"`
	IOPSWrMax       int64  `json:"iops_wr_max,omitempty"`
	BPSMaxLength    int64  `json:"bps_max_length,omitempty"`
	BPSRdMaxLength  int64  `json:"bps_rd_max_length,omitempty"`
	BPSWrMaxLength  int64  `json:"bps_wr_max_length,omitempty"`
	IOPSMaxLength   int64  `json:"iops_max_length,omitempty"`
	IOPSRdMaxLength int64  `json:"iops_rd_max_length,omitempty"`
	IOPSWrMaxLength int64  `json:"iops_wr_max_length,omitempty"`
	IOPSSize        int64  `json:"iops_size,omitempty"` // bytes that count as one operation; 0: any
	Group           string `json:"group,omitempty"`     // devices that share the limits; default: ID
}
