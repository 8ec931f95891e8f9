package storage

import (
	"context"
	"strings"

	"github.com/maqet/maqet/errors"
)

// CreateSnapshot makes an internal snapshot, without memory, of a qcow2 image that nobody
// uses, by "qemu-img snapshot -c".
//
// Errors: errors.ErrInvalidConfiguration for a name that [CheckSnapshotName] refuses;
// errors.ErrSnapshotExists, because QEMU would make a second one of that name;
// errors.ErrImageInUse with its holder; else as for [Manager.Usable]. When it fails, or ctx
// ends, the image's data is as it was, and the snapshot is there or not: see
// [Manager.Snapshots]. Clusters can have leaked: see [Manager.Repair].
func (m *Manager) CreateSnapshot(ctx context.Context, path, name string) error {
	op := "create snapshot " + quote(name) + " of image " + quote(path)
	if err := CheckSnapshotName(name); err != nil {
		return failed(op, err)
	}
	list, err := m.usableSnapshots(ctx, path)
	if err != nil {
		return failed(op, err)
	}
	for _, s := range list {
		if s.Name == name {
			return &errors.Error{Kind: errors.ErrSnapshotExists, Op: op, Hint: "choose another name, or delete that one"}
		}
	}
	return failed(op, m.snapshot(ctx, path, "-c", name))
}

// LoadSnapshot brings the data of a qcow2 image that nobody uses back to an internal
// snapshot, and its virtual size, too. What it held is lost. The snapshot stays.
//
// Errors: errors.ErrSnapshotNotFound; [*AmbiguousError] when there are several of that name;
// errors.ErrImageInUse with its holder; else as for [Manager.Usable]. QEMU refuses an image
// with dirty bitmaps: see [Manager.RemoveBitmap]. When it fails, or ctx ends, the image holds
// either what it held or what the snapshot does; see also [Manager.Repair].
func (m *Manager) LoadSnapshot(ctx context.Context, path, name string) error {
	op := "load snapshot " + quote(name) + " of image " + quote(path)
	s, err := m.findSnapshot(ctx, path, name)
	if err == nil {
		err = m.snapshot(ctx, path, "-a", s.ID) // which takes an ID before a name
	}
	return failed(op, err)
}

// DeleteSnapshot deletes an internal snapshot of a qcow2 image that nobody uses; the image's
// data stays as it is.
//
// Errors: those of [Manager.LoadSnapshot]. When it fails, or ctx ends, the snapshot is there
// whole or not at all; see also [Manager.Repair].
func (m *Manager) DeleteSnapshot(ctx context.Context, path, name string) error {
	op := "delete snapshot " + quote(name) + " of image " + quote(path)
	s, err := m.findSnapshot(ctx, path, name)
	if err == nil {
		err = m.snapshot(ctx, path, "-d", s.Name) // which takes the first of that name, and no ID
	}
	return failed(op, err)
}

// usableSnapshots lists the snapshots of an image that nobody uses.
func (m *Manager) usableSnapshots(ctx context.Context, path string) ([]Snapshot, error) {
	if _, err := m.Usable(ctx, path, FormatQcow2, true); err != nil {
		return nil, err
	}
	return snapshots(ctx, path)
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

// findSnapshot returns the one snapshot of that name of an image that nobody uses.
func (m *Manager) findSnapshot(ctx context.Context, path, name string) (Snapshot, error) {
	list, err := m.usableSnapshots(ctx, path)
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
func (m *Manager) snapshot(ctx context.Context, path, what, name string) error {
	opts, err := imageOptions(path)
	if err != nil {
		return err
	}
	return m.quietly(ctx, "snapshot", "-q", what, name, "--image-opts", "--", opts)
}
