package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryBlockJobs lists the block jobs.
func QueryBlockJobs(ctx context.Context, e qmp.Executor) ([]BlockJobInfo, error) {
	return qmp.Do[[]BlockJobInfo](ctx, e, "query-block-jobs", nil)
}

// BlockJobCancel cancels a block job by its id; [BlockJobCancelledEvent] says that it is
// over. A mirror that is ready ends well instead, with [BlockJobCompletedEvent] and a
// target that is a copy of that moment, unless force abandons it.
func BlockJobCancel(ctx context.Context, e qmp.Executor, device string, force bool) error {
	return run(ctx, e, "block-job-cancel", struct {
		Device string `json:"device"`
		Force  bool   `json:"force,omitempty"`
	}{device, force})
}

// BlockJobComplete completes a mirror, or a commit of the highest image, that is ready.
func BlockJobComplete(ctx context.Context, e qmp.Executor, device string) error {
	return run(ctx, e, "block-job-complete", deviceArgs{device})
}

// BlockJobDismiss removes a concluded job from the list.
func BlockJobDismiss(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "block-job-dismiss", idArgs{id})
}

// BlockJobFinalize lets a pending job make its last changes.
func BlockJobFinalize(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "block-job-finalize", idArgs{id})
}

// BlockJobPause pauses a job; it does so a little later.
func BlockJobPause(ctx context.Context, e qmp.Executor, device string) error {
	return run(ctx, e, "block-job-pause", deviceArgs{device})
}

// BlockJobResume lets a paused job go on.
func BlockJobResume(ctx context.Context, e qmp.Executor, device string) error {
	return run(ctx, e, "block-job-resume", deviceArgs{device})
}

// BlockJobSetSpeed limits a job to a number of bytes a second; 0 is no limit.
func BlockJobSetSpeed(ctx context.Context, e qmp.Executor, device string, speed int64) error {
	return run(ctx, e, "block-job-set-speed", struct {
		Device string `json:"device"`
		Speed  int64  `json:"speed"`
	}{device, speed})
}

// BlockJobChange changes a running job. Since QEMU 8.2.
func BlockJobChange(ctx context.Context, e qmp.Executor, args BlockJobChangeOptions) error {
	return run(ctx, e, "block-job-change", args)
}

// BlockJobInfo is a block job.
type BlockJobInfo struct {
	Type         JobType             `json:"type"`
	Device       string              `json:"device"` // the job's id
	Len          int64               `json:"len"`    // of Offset, when the job is done; in most jobs bytes
	Offset       int64               `json:"offset"`
	Busy         bool                `json:"busy"`   // it has work just now
	Paused       bool                `json:"paused"` // it is asked to pause
	Speed        int64               `json:"speed"`  // bytes a second; 0: no limit
	IOStatus     BlockDeviceIoStatus `json:"io-status"`
	Ready        bool                `json:"ready"` // BlockJobComplete works
	Status       JobStatus           `json:"status"`
	AutoFinalize bool                `json:"auto-finalize"`
	AutoDismiss  bool                `json:"auto-dismiss"`
	Error        string              `json:"error,omitempty"`
	// Of a mirror: writes are copied before they end (QEMU 8.2).
	ActivelySynced *bool `json:"actively-synced,omitempty"`
}

// BlockJobChangeOptions are the arguments of block-job-change.
type BlockJobChangeOptions struct {
	ID   string  `json:"id"`
	Type JobType `json:"type"`
	// Of a mirror: from background to write-blocking.
	CopyMode MirrorCopyMode `json:"copy-mode,omitempty"`
}
