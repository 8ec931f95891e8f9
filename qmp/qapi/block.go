package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryBlock lists the block devices that have a frontend, such as a disk of the guest.
func QueryBlock(ctx context.Context, e qmp.Executor) ([]BlockInfo, error) {
	return qmp.Do[[]BlockInfo](ctx, e, "query-block", nil)
}

// QueryNamedBlockNodes lists all block nodes. flat leaves out backing images of images,
// which makes the answer shorter by much when there are long chains.
func QueryNamedBlockNodes(ctx context.Context, e qmp.Executor, flat bool) ([]BlockDeviceInfo, error) {
	return qmp.Do[[]BlockDeviceInfo](ctx, e, "query-named-block-nodes", struct {
		Flat bool `json:"flat,omitempty"`
	}{flat})
}

// QueryBlockStats returns counters of each device, or of each block node with queryNodes.
func QueryBlockStats(ctx context.Context, e qmp.Executor, queryNodes bool) ([]BlockStats, error) {
	return qmp.Do[[]BlockStats](ctx, e, "query-blockstats", struct {
		QueryNodes bool `json:"query-nodes,omitempty"`
	}{queryNodes})
}

// BlockInfo is a block device.
type BlockInfo struct {
	Device    string              `json:"device"`              // id of its -drive; empty for one made with -blockdev
	Qdev      string              `json:"qdev,omitempty"`      // id or QOM path of its frontend
	Type      string              `json:"type"`                // always "unknown"
	Removable bool                `json:"removable"`           // its medium can be changed
	Locked    bool                `json:"locked"`              // the guest holds the medium
	Inserted  *BlockDeviceInfo    `json:"inserted,omitempty"`  // nil: no medium
	TrayOpen  *bool               `json:"tray_open,omitempty"` // nil: it has no tray
	IOStatus  BlockDeviceIoStatus `json:"io-status,omitempty"`
}

// BlockDeviceInfo is a block node: one format or protocol layer. The limits are those of
// [BlockIOThrottle].
type BlockDeviceInfo struct {
	File             string `json:"file"` // name of the image, as QEMU writes it
	NodeName         string `json:"node-name,omitempty"`
	RO               bool   `json:"ro"`  // read-only
	Drv              string `json:"drv"` // driver, such as qcow2
	BackingFile      string `json:"backing_file,omitempty"`
	BackingFileDepth int64  `json:"backing_file_depth"` // images below this one
	// False while another QEMU owns the image; nil: it does not say (QEMU 10.0).
	Active          *bool                       `json:"active"`
	Encrypted       bool                        `json:"encrypted"`
	DetectZeroes    BlockdevDetectZeroesOptions `json:"detect_zeroes"`
	BPS             int64                       `json:"bps"`
	BPSRd           int64                       `json:"bps_rd"`
	BPSWr           int64                       `json:"bps_wr"`
	IOPS            int64                       `json:"iops"`
	IOPSRd          int64                       `json:"iops_rd"`
	IOPSWr          int64                       `json:"iops_wr"`
	Image           ImageInfo                   `json:"image"`
	BPSMax          *int64                      `json:"bps_max,omitempty"`
	BPSRdMax        *int64                      `json:"bps_rd_max,omitempty"`
	BPSWrMax        *int64                      `json:"bps_wr_max,omitempty"`
	IOPSMax         *int64                      `json:"iops_max,omitempty"`
	IOPSRdMax       *int64                      `json:"iops_rd_max,omitempty"`
	IOPSWrMax       *int64                      `json:"iops_wr_max,omitempty"`
	BPSMaxLength    *int64                      `json:"bps_max_length,omitempty"`
	BPSRdMaxLength  *int64                      `json:"bps_rd_max_length,omitempty"`
	BPSWrMaxLength  *int64                      `json:"bps_wr_max_length,omitempty"`
	IOPSMaxLength   *int64                      `json:"iops_max_length,omitempty"`
	IOPSRdMaxLength *int64                      `json:"iops_rd_max_length,omitempty"`
	IOPSWrMaxLength *int64                      `json:"iops_wr_max_length,omitempty"`
	IOPSSize        *int64                      `json:"iops_size,omitempty"`
	Group           string                      `json:"group,omitempty"`
	Cache           BlockdevCacheInfo           `json:"cache"`
	// Offset in bytes that sends [BlockWriteThresholdEvent]; 0: none.
	WriteThreshold int64            `json:"write_threshold"`
	DirtyBitmaps   []BlockDirtyInfo `json:"dirty-bitmaps,omitempty"`
}

// BlockdevCacheInfo is how a node caches.
type BlockdevCacheInfo struct {
	Writeback bool `json:"writeback"` // writes end before they are flushed
	Direct    bool `json:"direct"`    // past the host's cache (O_DIRECT)
	NoFlush   bool `json:"no-flush"`  // flushes are ignored
}

// BlockDirtyInfo is a dirty bitmap.
type BlockDirtyInfo struct {
	Name        string `json:"name,omitempty"`
	Count       int64  `json:"count"`       // dirty bytes
	Granularity uint32 `json:"granularity"` // bytes for each bit
	Recording   bool   `json:"recording"`   // new writes are noted
	Busy        bool   `json:"busy"`        // a job or export uses it
	Persistent  bool   `json:"persistent"`  // stored in the image
	// The image was not closed properly; it can only be removed.
	Inconsistent bool `json:"inconsistent,omitempty"`
}

// BlockDeviceIoStatus is why a device has halted the guest, if it has.
type BlockDeviceIoStatus string

// Values of BlockDeviceIoStatus.
const (
	BlockDeviceIoStatusOk      BlockDeviceIoStatus = "ok"
	BlockDeviceIoStatusFailed  BlockDeviceIoStatus = "failed"  // an I/O error
	BlockDeviceIoStatusNospace BlockDeviceIoStatus = "nospace" // no space on the host
)

// BlockdevDetectZeroesOptions is what becomes of writes of zeroes.
type BlockdevDetectZeroesOptions string

// Values of BlockdevDetectZeroesOptions.
const (
	BlockdevDetectZeroesOptionsOff   BlockdevDetectZeroesOptions = "off"
	BlockdevDetectZeroesOptionsOn    BlockdevDetectZeroesOptions = "on"    // write them in a way that may save space
	BlockdevDetectZeroesOptionsUnmap BlockdevDetectZeroesOptions = "unmap" // discard instead, where the node may discard
)
