package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// Transaction executes actions, all or none. Jobs that it starts run each by themselves
// unless properties say otherwise; nil is the default.
func Transaction(ctx context.Context, e qmp.Executor, actions []TransactionAction, properties *TransactionProperties) error {
	return run(ctx, e, "transaction", struct {
		Actions    []TransactionAction    `json:"actions"`
		Properties *TransactionProperties `json:"properties,omitempty"`
	}{actions, properties})
}

// BlockdevSnapshot puts an overlay on a node: what is written from now on goes to
// the overlay.
func BlockdevSnapshot(ctx context.Context, e qmp.Executor, args BlockdevSnapshotArgs) error {
	return run(ctx, e, "blockdev-snapshot", args)
}

// BlockdevSnapshotSync makes an overlay's file, opens it and puts it on a node. Prefer
// [BlockdevAdd] and [BlockdevSnapshot].
func BlockdevSnapshotSync(ctx context.Context, e qmp.Executor, args BlockdevSnapshotSyncArgs) error {
	return run(ctx, e, "blockdev-snapshot-sync", args)
}

// BlockdevSnapshotInternalSync makes an internal snapshot of a disk, without the
// machine's state.
func BlockdevSnapshotInternalSync(ctx context.Context, e qmp.Executor, args BlockdevSnapshotInternal) error {
	return run(ctx, e, "blockdev-snapshot-internal-sync", args)
}

// BlockdevSnapshotDeleteInternalSync deletes an internal snapshot of a device by its id
// or its name, or both; one may be empty. It returns what was deleted.
func BlockdevSnapshotDeleteInternalSync(ctx context.Context, e qmp.Executor, device, id, name string) (SnapshotInfo, error) {
	return qmp.Do[SnapshotInfo](ctx, e, "blockdev-snapshot-delete-internal-sync", struct {
		Device string `json:"device"`
		ID     string `json:"id,omitempty"`
		Name   string `json:"name,omitempty"`
	}{device, id, name})
}

// TransactionAction is one action of a transaction. Data is what Type says:
//
//   - [BlockDirtyBitmapAddArgs], [BlockDirtyBitmap] (remove, clear, enable and disable),
//     [BlockDirtyBitmapMergeArgs]
//   - [BlockdevBackupArgs], [BlockdevSnapshotArgs], [BlockdevSnapshotInternal],
//     [BlockdevSnapshotSyncArgs]
//   - [Abort]
//   - for another type anything that marshals to an object, and a json.RawMessage after
//     unmarshalling
type TransactionAction struct {
	Type TransactionActionKind `json:"type"`
	Data any                   `json:"data"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *TransactionAction) UnmarshalJSON(data []byte) error {
	return unmarshalUnion(data, &a.Type, &a.Data, transactionActionBranch)
}

func transactionActionBranch(kind TransactionActionKind) any {
	switch kind {
	case TransactionActionKindAbort:
		return new(Abort)
	case TransactionActionKindBlockDirtyBitmapAdd:
		return new(BlockDirtyBitmapAddArgs)
	case TransactionActionKindBlockDirtyBitmapRemove, TransactionActionKindBlockDirtyBitmapClear,
		TransactionActionKindBlockDirtyBitmapEnable, TransactionActionKindBlockDirtyBitmapDisable:
		return new(BlockDirtyBitmap)
	case TransactionActionKindBlockDirtyBitmapMerge:
		return new(BlockDirtyBitmapMergeArgs)
	case TransactionActionKindBlockdevBackup:
		return new(BlockdevBackupArgs)
	case TransactionActionKindBlockdevSnapshot:
		return new(BlockdevSnapshotArgs)
	case TransactionActionKindBlockdevSnapshotInternalSync:
		return new(BlockdevSnapshotInternal)
	case TransactionActionKindBlockdevSnapshotSync:
		return new(BlockdevSnapshotSyncArgs)
	}
	return nil
}

// TransactionActionKind is the kind of an action.
type TransactionActionKind string

// Values of TransactionActionKind.
const (
	TransactionActionKindAbort                        TransactionActionKind = "abort"
	TransactionActionKindBlockDirtyBitmapAdd          TransactionActionKind = "block-dirty-bitmap-add"
	TransactionActionKindBlockDirtyBitmapRemove       TransactionActionKind = "block-dirty-bitmap-remove"
	TransactionActionKindBlockDirtyBitmapClear        TransactionActionKind = "block-dirty-bitmap-clear"
	TransactionActionKindBlockDirtyBitmapEnable       TransactionActionKind = "block-dirty-bitmap-enable"
	TransactionActionKindBlockDirtyBitmapDisable      TransactionActionKind = "block-dirty-bitmap-disable"
	TransactionActionKindBlockDirtyBitmapMerge        TransactionActionKind = "block-dirty-bitmap-merge"
	TransactionActionKindBlockdevBackup               TransactionActionKind = "blockdev-backup"
	TransactionActionKindBlockdevSnapshot             TransactionActionKind = "blockdev-snapshot"
	TransactionActionKindBlockdevSnapshotInternalSync TransactionActionKind = "blockdev-snapshot-internal-sync"
	TransactionActionKindBlockdevSnapshotSync         TransactionActionKind = "blockdev-snapshot-sync"
	TransactionActionKindDriveBackup                  TransactionActionKind = "drive-backup"
)

// TransactionProperties says how a transaction's jobs hang together.
type TransactionProperties struct {
	CompletionMode ActionCompletionMode `json:"completion-mode,omitempty"` // default: individual
}

// ActionCompletionMode says what happens to a transaction's other jobs when one fails.
type ActionCompletionMode string

// Values of ActionCompletionMode.
const (
	ActionCompletionModeIndividual ActionCompletionMode = "individual" // nothing
	ActionCompletionModeGrouped    ActionCompletionMode = "grouped"    // they are cancelled
)

// Abort is an action that always fails.
type Abort struct{}

// BlockdevSnapshotArgs are the arguments of blockdev-snapshot, and a transaction action.
type BlockdevSnapshotArgs struct {
	Node    string `json:"node"`    // device or node to snapshot
	Overlay string `json:"overlay"` // node, without backing, that gets Node below it
}

// BlockdevSnapshotInternal are the arguments of blockdev-snapshot-internal-sync, and a
// transaction action.
type BlockdevSnapshotInternal struct {
	Device string `json:"device"`
	Name   string `json:"name"` // of the snapshot
}

// BlockdevSnapshotSyncArgs are the arguments of blockdev-snapshot-sync, and a transaction
// action.
type BlockdevSnapshotSyncArgs struct {
	Device           string       `json:"device,omitempty"`    // device, or
	NodeName         string       `json:"node-name,omitempty"` // node to snapshot
	SnapshotFile     string       `json:"snapshot-file"`       // name of the overlay's file
	SnapshotNodeName string       `json:"snapshot-node-name,omitempty"`
	Format           string       `json:"format,omitempty"` // default: qcow2
	Mode             NewImageMode `json:"mode,omitempty"`   // default: absolute-paths
}

// NewImageMode says how the file of a new image is made.
type NewImageMode string

// Values of NewImageMode.
const (
	NewImageModeExisting      NewImageMode = "existing"       // it exists
	NewImageModeAbsolutePaths NewImageMode = "absolute-paths" // with the absolute name of the backing image in it
)
