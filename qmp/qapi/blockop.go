package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// BlockdevMirror starts a job that copies a device to a node, and then each write until
// it is completed or cancelled.
func BlockdevMirror(ctx context.Context, e qmp.Executor, args BlockdevMirrorArgs) error {
	return run(ctx, e, "blockdev-mirror", args)
}

// BlockdevBackup starts a job that copies a device to a node as it is now, while
// the guest goes on.
func BlockdevBackup(ctx context.Context, e qmp.Executor, args BlockdevBackupArgs) error {
	return run(ctx, e, "blockdev-backup", args)
}

// BlockCommit starts a job that writes the content of images into one below them in
// their chain.
func BlockCommit(ctx context.Context, e qmp.Executor, args BlockCommitArgs) error {
	return run(ctx, e, "block-commit", args)
}

// BlockStream starts a job that copies the content of images below one into it.
func BlockStream(ctx context.Context, e qmp.Executor, args BlockStreamArgs) error {
	return run(ctx, e, "block-stream", args)
}

// ChangeBackingFile changes the name of the backing image that an image has in its
// header, not the image that is in use.
func ChangeBackingFile(ctx context.Context, e qmp.Executor, args ChangeBackingFileArgs) error {
	return run(ctx, e, "change-backing-file", args)
}

// BlockdevMirrorArgs are the arguments of blockdev-mirror.
type BlockdevMirrorArgs struct {
	JobID  string `json:"job-id,omitempty"` // default: Device
	Device string `json:"device"`           // device or node to copy
	Target string `json:"target"`           // node to copy to
	// Node that the target takes the place of; default: Device.
	Replaces       string          `json:"replaces,omitempty"`
	Sync           MirrorSyncMode  `json:"sync"`
	Speed          int64           `json:"speed,omitempty"`           // bytes a second; 0: no limit
	Granularity    uint32          `json:"granularity,omitempty"`     // bytes, a power of two; 0: QEMU chooses
	BufSize        int64           `json:"buf-size,omitempty"`        // bytes in flight; 0: QEMU chooses
	OnSourceError  BlockdevOnError `json:"on-source-error,omitempty"` // default: report
	OnTargetError  BlockdevOnError `json:"on-target-error,omitempty"` // default: report
	FilterNodeName string          `json:"filter-node-name,omitempty"`
	CopyMode       MirrorCopyMode  `json:"copy-mode,omitempty"`     // default: background
	AutoFinalize   *bool           `json:"auto-finalize,omitempty"` // default: true
	AutoDismiss    *bool           `json:"auto-dismiss,omitempty"`  // default: true
}

// BlockdevBackupArgs are the arguments of blockdev-backup, and a transaction action.
type BlockdevBackupArgs struct {
	JobID  string         `json:"job-id,omitempty"` // default: Device
	Device string         `json:"device"`           // device or node to copy
	Sync   MirrorSyncMode `json:"sync"`
	Speed  int64          `json:"speed,omitempty"` // bytes a second; 0: no limit
	// What to copy, with MirrorSyncModeIncremental or MirrorSyncModeBitmap.
	Bitmap         string          `json:"bitmap,omitempty"`
	BitmapMode     BitmapSyncMode  `json:"bitmap-mode,omitempty"` // needed with MirrorSyncModeBitmap
	Compress       bool            `json:"compress,omitempty"`
	OnSourceError  BlockdevOnError `json:"on-source-error,omitempty"` // default: report
	OnTargetError  BlockdevOnError `json:"on-target-error,omitempty"` // default: report
	AutoFinalize   *bool           `json:"auto-finalize,omitempty"`   // default: true
	AutoDismiss    *bool           `json:"auto-dismiss,omitempty"`    // default: true
	FilterNodeName string          `json:"filter-node-name,omitempty"`
	DiscardSource  bool            `json:"discard-source,omitempty"` // QEMU 9.1
	Target         string          `json:"target"`                   // node to copy to
}

// BlockCommitArgs are the arguments of block-commit.
type BlockCommitArgs struct {
	JobID    string `json:"job-id,omitempty"`    // default: Device
	Device   string `json:"device"`              // device, or root of the chain
	BaseNode string `json:"base-node,omitempty"` // image to write to; default: the lowest
	// Highest image to take content from; default: the highest.
	TopNode             string          `json:"top-node,omitempty"`
	BackingFile         string          `json:"backing-file,omitempty"`          // name to write into the image above TopNode
	BackingMaskProtocol bool            `json:"backing-mask-protocol,omitempty"` // QEMU 9.0
	Speed               int64           `json:"speed,omitempty"`                 // bytes a second; 0: no limit
	OnError             BlockdevOnError `json:"on-error,omitempty"`              // default: report
	FilterNodeName      string          `json:"filter-node-name,omitempty"`
	AutoFinalize        *bool           `json:"auto-finalize,omitempty"` // default: true
	AutoDismiss         *bool           `json:"auto-dismiss,omitempty"`  // default: true
}

// BlockStreamArgs are the arguments of block-stream.
type BlockStreamArgs struct {
	JobID  string `json:"job-id,omitempty"` // default: Device
	Device string `json:"device"`           // device or node to copy to
	// Highest image that is not copied; default: none, all are.
	BaseNode string `json:"base-node,omitempty"`
	// Name of the backing image to write into Device.
	BackingFile         string          `json:"backing-file,omitempty"`
	BackingMaskProtocol bool            `json:"backing-mask-protocol,omitempty"` // QEMU 9.0
	Bottom              string          `json:"bottom,omitempty"`                // lowest image that is copied, instead of BaseNode
	Speed               int64           `json:"speed,omitempty"`                 // bytes a second; 0: no limit
	OnError             BlockdevOnError `json:"on-error,omitempty"`              // default: report
	FilterNodeName      string          `json:"filter-node-name,omitempty"`
	AutoFinalize        *bool           `json:"auto-finalize,omitempty"` // default: true
	AutoDismiss         *bool           `json:"auto-dismiss,omitempty"`  // default: true
}

// ChangeBackingFileArgs are the arguments of change-backing-file.
type ChangeBackingFileArgs struct {
	Device        string `json:"device"`          // device or node at the top of the chain
	ImageNodeName string `json:"image-node-name"` // the image to change
	BackingFile   string `json:"backing-file"`
}

// MirrorSyncMode is what a mirror or backup copies.
type MirrorSyncMode string

// Values of MirrorSyncMode.
const (
	MirrorSyncModeTop         MirrorSyncMode = "top"         // what the highest image has itself
	MirrorSyncModeFull        MirrorSyncMode = "full"        // everything
	MirrorSyncModeNone        MirrorSyncMode = "none"        // only what is written from now on
	MirrorSyncModeIncremental MirrorSyncMode = "incremental" // what the bitmap has
	MirrorSyncModeBitmap      MirrorSyncMode = "bitmap"      // what the bitmap has; see BitmapSyncMode
)

// MirrorCopyMode is when a mirror copies what the guest writes.
type MirrorCopyMode string

// Values of MirrorCopyMode.
const (
	MirrorCopyModeBackground    MirrorCopyMode = "background"     // some time later
	MirrorCopyModeWriteBlocking MirrorCopyMode = "write-blocking" // before the guest's write ends
)

// BitmapSyncMode is what becomes of a backup's bitmap.
type BitmapSyncMode string

// Values of BitmapSyncMode.
const (
	BitmapSyncModeOnSuccess BitmapSyncMode = "on-success" // it is cleared if all was copied
	BitmapSyncModeNever     BitmapSyncMode = "never"
	BitmapSyncModeAlways    BitmapSyncMode = "always" // what was copied is cleared, even on failure
)

// BlockdevOnError is what becomes of an I/O error in a job.
type BlockdevOnError string

// Values of BlockdevOnError.
const (
	BlockdevOnErrorReport BlockdevOnError = "report" // it ends the job, or goes to the guest
	BlockdevOnErrorIgnore BlockdevOnError = "ignore"
	BlockdevOnErrorEnospc BlockdevOnError = "enospc" // stop when the host has no space, else report
	BlockdevOnErrorStop   BlockdevOnError = "stop"   // it pauses the job, or the guest
	BlockdevOnErrorAuto   BlockdevOnError = "auto"   // the device's default
)
