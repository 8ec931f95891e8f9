package snapshot

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Images is what snapshots need of the images of a VM that is not live. storage.Manager
// implements it.
type Images interface {
	// Usable checks that an image and every one below it can be used; see vm.Images.
	Usable(ctx context.Context, path, format string, write bool, keys ...storage.Secret) ([]storage.Image, error)
	// Chain returns an image and those below it, the topmost first.
	Chain(ctx context.Context, path, format string) ([]storage.Image, error)
	// Snapshots lists the internal snapshots of a qcow2 image, in the order in which they were made.
	Snapshots(ctx context.Context, path string) ([]storage.Snapshot, error)
	// CreateSnapshot, LoadSnapshot and DeleteSnapshot work on an internal snapshot of a qcow2
	// image that nobody uses. They are whole or fail, whatever interrupts them; what an
	// interruption leaks is for Repair.
	CreateSnapshot(ctx context.Context, path, name string, keys ...storage.Secret) error
	LoadSnapshot(ctx context.Context, path, name string, keys ...storage.Secret) error
	DeleteSnapshot(ctx context.Context, path, name string, keys ...storage.Secret) error
	// Repair frees what an interrupted operation leaked in an image.
	Repair(ctx context.Context, path string, keys ...storage.Secret) error
	// Bitmaps lists the dirty bitmaps of a qcow2 image, and RemoveBitmap removes one.
	Bitmaps(ctx context.Context, path string) ([]string, error)
	RemoveBitmap(ctx context.Context, path, name string, keys ...storage.Secret) error
	// Overlay makes an overlay; see vm.Images.
	Overlay(ctx context.Context, spec storage.OverlaySpec) (storage.Image, error)
	// Create makes an empty image; see vm.Images.
	Create(ctx context.Context, spec storage.CreateSpec) (storage.Image, error)
	// MergeDown writes what an image that nobody uses and those between hold into one below it.
	MergeDown(ctx context.Context, top, base string) error
	// Restack has an image that nobody uses stand on another one, or on none.
	Restack(ctx context.Context, path, base, baseFormat string, pull bool) error
	// Restacked registers what an image stands on, after QEMU has changed it.
	Restacked(ctx context.Context, path string) error
	// Files returns the registered files that f selects.
	Files(ctx context.Context, f storage.FileFilter) ([]storage.File, error)
	// Delete removes an image that maqet made.
	Delete(ctx context.Context, path string) error
}

// KeeperOptions are what a [Keeper] is made of.
type KeeperOptions struct {
	Images  Images       // required
	Records Records      // required
	Logger  *slog.Logger // nil: nothing is logged
	// OnStep, if not nil, is called before each step that changes something, with its name.
	// Tests cut operations short there.
	OnStep func(ctx context.Context, step string)
}

// Keeper keeps the snapshots of VMs that are not live, and mends what interrupted operations
// left. It is the vm.Snapshots of a vm.Manager, and safe for concurrent use.
type Keeper struct {
	images  Images
	records Records
	log     *slog.Logger
	onStep  func(context.Context, string)
	// undoLimit is that of outlive: undoLimit, but for tests.
	undoLimit time.Duration
}

var _ vm.Snapshots = (*Keeper)(nil)

// NewKeeper puts a Keeper together.
func NewKeeper(o KeeperOptions) (*Keeper, error) {
	if o.Images == nil || o.Records == nil {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "create snapshot keeper", Msg: "images and records are required"}
	}
	k := &Keeper{images: o.Images, records: o.Records, log: o.Logger, onStep: o.OnStep, undoLimit: undoLimit}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	return k, nil
}

func (k *Keeper) step(ctx context.Context, name string) {
	if k.onStep != nil {
		k.onStep(ctx, name)
	}
}

// begin records that an operation begins, before anything else is done for it.
func (k *Keeper) begin(ctx context.Context, rec *Record, what Pending, undo any) error {
	rec.Pending, rec.Undo = what, nil
	if undo != nil {
		data, err := json.Marshal(undo)
		if err != nil {
			return errors.Wrap(errors.ErrSnapshot, "record operation", "", err)
		}
		rec.Undo = data
	}
	k.step(ctx, string(what)+": record")
	return k.records.PutSnapshot(ctx, *rec)
}

// end records that the operation has ended and the snapshot is whole. It goes on when ctx has
// ended: otherwise what was done would be undone.
func (k *Keeper) end(ctx context.Context, rec *Record) error {
	k.step(ctx, string(rec.Pending)+": done")
	rec.Pending, rec.Undo = "", nil
	return k.records.PutSnapshot(context.WithoutCancel(ctx), *rec)
}

// drop records that the snapshot is gone.
func (k *Keeper) drop(ctx context.Context, rec *Record) error {
	k.step(ctx, string(rec.Pending)+": forget")
	return k.records.DropSnapshot(context.WithoutCancel(ctx), rec.VM, rec.Name)
}
