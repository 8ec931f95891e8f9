package storage

import (
	"context"
	"strings"

	"github.com/maqet/maqet/errors"
)

// CreateSnapshot makes an internal snapshot, without memory, of a qcow2 image that nobody
// uses, by "qemu-img snapshot -c". keys opens an image that is encrypted, as for
// [Manager.Usable], here and in all that follows.
//
// Errors: errors.ErrInvalidConfiguration for a name that [CheckSnapshotName] refuses;
// errors.ErrSnapshotExists, because QEMU would make a second one of that name;
// errors.ErrImageInUse with its holder; else as for [Manager.Usable]. When it fails, or ctx
// ends, the image's data is as it was, and the snapshot is there or not: see
// [Manager.Snapshots]. Clusters can have leaked: see [Manager.Repair].
func (m *Manager) CreateSnapshot(ctx context.Context, path, name string, keys ...Secret) error {
	op := "create snapshot " + quote(name) + " of image " + quote(path)
	if err := CheckSnapshotName(name); err != nil {
		return failed(op, err)
	}
	h, err := m.hold(ctx, path, keys)
	if err != nil {
		return failed(op, err)
	}
	defer h.release()
	list, err := snapshots(ctx, path)
	if err != nil {
		return failed(op, err)
	}
	for _, s := range list {
		if s.Name == name {
			return &errors.Error{Kind: errors.ErrSnapshotExists, Op: op, Hint: "choose another name, or delete that one"}
		}
	}
	return failed(op, h.snapshot(ctx, "-c", name))
}

// LoadSnapshot brings the data of a qcow2 image that nobody uses back to an internal
// snapshot, and its virtual size, too. What it held is lost. The snapshot stays.
//
// Errors: errors.ErrSnapshotNotFound; [*AmbiguousError] when there are several of that name;
// errors.ErrImageInUse with its holder, or the registered overlays that stand on it; else as for
// [Manager.Usable]. QEMU refuses an image with dirty bitmaps: see [Manager.RemoveBitmap]. When it fails, or ctx ends, the image holds
// either what it held or what the snapshot does; see also [Manager.Repair].
func (m *Manager) LoadSnapshot(ctx context.Context, path, name string, keys ...Secret) error {
	op := "load snapshot " + quote(name) + " of image " + quote(path)
	h, err := m.hold(ctx, path, keys)
	if err != nil {
		return failed(op, err)
	}
	defer h.release()
	err = m.noOverlays(ctx, h.path())
	var s Snapshot
	if err == nil {
		s, err = h.find(ctx, name)
	}
	if err == nil {
		err = h.snapshot(ctx, "-a", s.ID) // which takes an ID before a name
	}
	if err == nil && s.Size != h.layers[0].Size {
		_, err = m.refresh(context.WithoutCancel(ctx), h.path(), FormatQcow2)
	}
	return failed(op, err)
}

// DeleteSnapshot deletes an internal snapshot of a qcow2 image that nobody uses; the image's
// data stays as it is.
//
// Errors: those of [Manager.LoadSnapshot]. When it fails, or ctx ends, the snapshot is there
// whole or not at all; see also [Manager.Repair].
func (m *Manager) DeleteSnapshot(ctx context.Context, path, name string, keys ...Secret) error {
	op := "delete snapshot " + quote(name) + " of image " + quote(path)
	h, err := m.hold(ctx, path, keys)
	if err != nil {
		return failed(op, err)
	}
	defer h.release()
	s, err := h.find(ctx, name)
	if err == nil {
		err = h.snapshot(ctx, "-d", s.Name) // which takes the first of that name, and no ID
	}
	return failed(op, err)
}

// AmbiguousError says that an image has several snapshots of the same name, of which QEMU
// would take the first. They are not maqet's. It is errors.ErrStorage.
type AmbiguousError struct {
	Name string
	IDs  []string
}

// Error names the snapshots, and what to do.
func (e *AmbiguousError) Error() string {
	return "several snapshots have the name " + quote(e.Name) + ", with the IDs " + strings.Join(e.IDs, ", ") +
		` (delete those that are too many, with "qemu-img snapshot -d", which takes the first)`
}

// Unwrap returns errors.ErrStorage.
func (e *AmbiguousError) Unwrap() error { return errors.ErrStorage }

// find returns the one snapshot of that name.
func (h *heldImage) find(ctx context.Context, name string) (Snapshot, error) {
	list, err := snapshots(ctx, h.path())
	if err != nil {
		return Snapshot{}, err
	}
	var found []Snapshot
	var ids []string
	for _, s := range list {
		if s.Name == name {
			found, ids = append(found, s), append(ids, s.ID)
		}
	}
	switch len(found) {
	case 0:
		return Snapshot{}, errors.ErrSnapshotNotFound
	case 1:
		return found[0], nil
	}
	return Snapshot{}, &AmbiguousError{Name: name, IDs: ids}
}

// snapshot runs "qemu-img snapshot". The name is an option's argument, so that a dash in front
// of it means nothing.
func (h *heldImage) snapshot(ctx context.Context, what, name string) error {
	return h.run(ctx, []string{"snapshot", "-q", what, name})
}
