package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryJobs lists the jobs, block jobs too.
func QueryJobs(ctx context.Context, e qmp.Executor) ([]JobInfo, error) {
	return qmp.Do[[]JobInfo](ctx, e, "query-jobs", nil)
}

// JobCancel cancels a job, a mirror as [BlockJobCancel] with force;
// [JobStatusChangeEvent] says that it is over.
func JobCancel(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-cancel", idArgs{id})
}

// JobComplete completes a job that is ready.
func JobComplete(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-complete", idArgs{id})
}

// JobDismiss removes a concluded job from the list. Only then is its id free again.
func JobDismiss(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-dismiss", idArgs{id})
}

// JobFinalize lets a pending job make its last changes.
func JobFinalize(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-finalize", idArgs{id})
}

// JobPause pauses a job; it does so a little later.
func JobPause(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-pause", idArgs{id})
}

// JobResume lets a paused job go on.
func JobResume(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "job-resume", idArgs{id})
}

// SnapshotSave starts a job that saves the machine's state, and that of its disks, as
// an internal snapshot. The guest is halted meanwhile.
func SnapshotSave(ctx context.Context, e qmp.Executor, args SnapshotSaveArgs) error {
	return run(ctx, e, "snapshot-save", args)
}

// SnapshotLoad starts a job that loads what [SnapshotSave] has saved. The machine should
// be halted before, and is afterwards.
func SnapshotLoad(ctx context.Context, e qmp.Executor, args SnapshotLoadArgs) error {
	return run(ctx, e, "snapshot-load", args)
}

// SnapshotDelete starts a job that deletes a snapshot.
func SnapshotDelete(ctx context.Context, e qmp.Executor, args SnapshotDeleteArgs) error {
	return run(ctx, e, "snapshot-delete", args)
}

// JobInfo is a job.
type JobInfo struct {
	ID              string    `json:"id"`
	Type            JobType   `json:"type"`
	Status          JobStatus `json:"status"`
	CurrentProgress int64     `json:"current-progress"` // grows up to TotalProgress, in no particular unit
	TotalProgress   int64     `json:"total-progress"`   // may grow, too
	// Why a concluded job has failed; empty: it has not, or not yet.
	Error string `json:"error,omitempty"`
}

// SnapshotSaveArgs are the arguments of snapshot-save.
type SnapshotSaveArgs struct {
	JobID   string   `json:"job-id"`
	Tag     string   `json:"tag"`     // the snapshot's name
	Vmstate string   `json:"vmstate"` // the node that gets the machine's state
	Devices []string `json:"devices"` // the nodes that get a snapshot
}

// SnapshotLoadArgs are the arguments of snapshot-load.
type SnapshotLoadArgs struct {
	JobID   string   `json:"job-id"`
	Tag     string   `json:"tag"`     // the snapshot's name
	Vmstate string   `json:"vmstate"` // the node that has the machine's state
	Devices []string `json:"devices"` // the nodes to restore
}

// SnapshotDeleteArgs are the arguments of snapshot-delete.
type SnapshotDeleteArgs struct {
	JobID   string   `json:"job-id"`
	Tag     string   `json:"tag"`     // the snapshot's name
	Devices []string `json:"devices"` // the nodes to delete it from
}

// JobType is what a job does.
type JobType string

// Values of JobType.
const (
	JobTypeCommit         JobType = "commit"
	JobTypeStream         JobType = "stream"
	JobTypeMirror         JobType = "mirror"
	JobTypeBackup         JobType = "backup"
	JobTypeCreate         JobType = "create"
	JobTypeAmend          JobType = "amend"
	JobTypeSnapshotLoad   JobType = "snapshot-load"
	JobTypeSnapshotSave   JobType = "snapshot-save"
	JobTypeSnapshotDelete JobType = "snapshot-delete"
)

// JobStatus is how far a job is.
type JobStatus string

// Values of JobStatus.
const (
	JobStatusUndefined JobStatus = "undefined"
	JobStatusCreated   JobStatus = "created"
	JobStatusRunning   JobStatus = "running"
	JobStatusPaused    JobStatus = "paused"
	JobStatusReady     JobStatus = "ready"
	JobStatusStandby   JobStatus = "standby"   // ready and paused
	JobStatusWaiting   JobStatus = "waiting"   // done, other jobs of its transaction are not
	JobStatusPending   JobStatus = "pending"   // waits for JobFinalize
	JobStatusAborting  JobStatus = "aborting"  // has failed or was cancelled, and cleans up
	JobStatusConcluded JobStatus = "concluded" // over, well or not; waits for JobDismiss
	JobStatusNull      JobStatus = "null"      // gone
)
