package snapshot

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// writtenDisks returns the disks of a VM that is not live whose images hold an internal
// snapshot of it: all that its guest writes. Those that each start makes anew hold nothing.
func (k *Keeper) writtenDisks(ctx context.Context, r *vm.Reservation, op, name string) ([]RecordDisk, error) {
	blocked := &BlockedError{Op: op, VM: r.Instance().Name}
	disks := []RecordDisk{}
	for _, img := range r.Images() {
		if img.Path == "" || img.ReadOnly || img.Ephemeral {
			continue
		}
		path, err := filepath.Abs(img.Path)
		if err != nil {
			return nil, err
		}
		if img.Format != vm.FormatQcow2 {
			blocked.add(img.Name, "is written and has the format "+img.Format, "convert its image to qcow2, or make it read-only")
			continue
		}
		_, err = k.images.Usable(ctx, path, img.Format, true, keysOf(r.Instance(), img.Name)...)
		if errors.Is(err, errors.ErrImageNotFound) {
			blocked.add(img.Name, "has no image yet", "start the VM once, or bring "+path+" back")
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, exists, err := k.held(ctx, path, name); err != nil {
			return nil, err
		} else if exists {
			return nil, &errors.Error{Kind: errors.ErrSnapshotExists, Op: op, VM: r.Instance().Name,
				Msg: "maqet did not make it, but it is in " + path, Hint: "choose another name, or delete that one"}
		}
		disks = append(disks, RecordDisk{Name: img.Name, Path: path, Format: img.Format})
	}
	if len(disks) == 0 && len(blocked.Blockers) == 0 {
		blocked.add("", "it has no disk that could hold a snapshot", "give it a qcow2 disk that is kept, or make the snapshot while it runs")
	}
	return disks, blocked.orNil()
}

// add adds a blocker.
func (e *BlockedError) add(device, reason, fix string) {
	e.Blockers = append(e.Blockers, Blocker{Device: device, Reason: reason, Fix: fix})
}

// orNil returns e if anything blocks.
func (e *BlockedError) orNil() error {
	if len(e.Blockers) == 0 {
		return nil
	}
	return e
}

// loadableDisks returns the disks of a snapshot that a load brings back, after it has looked
// for all that could make the load fail. An image that holds nothing but memory is none.
func (k *Keeper) loadableDisks(ctx context.Context, r *vm.Reservation, rec *Record, cold bool) ([]RecordDisk, error) {
	now := map[string]vm.Image{}
	for _, img := range r.Images() {
		now[img.Name] = img
	}
	blocked := &BlockedError{Op: "load snapshot " + rec.Name, VM: r.Instance().Name}
	var disks []RecordDisk
	for _, d := range rec.Disks {
		img, known := now[d.Name]
		if !rec.memoryOnly(d, known) {
			disks = append(disks, d)
			before := len(blocked.Blockers)
			if err := blocked.place(d, img, known); err != nil {
				return nil, err
			}
			if len(blocked.Blockers) > before {
				continue
			}
		}
		if err := k.loadable(ctx, r, rec, d, cold, blocked); err != nil {
			return nil, err
		}
	}
	return disks, blocked.orNil()
}

// memoryOnly reports whether a row of a record is the image that holds the memory of a VM
// whose disks can't; known is whether a disk of the VM has its name.
func (rec *Record) memoryOnly(d RecordDisk, known bool) bool { return d.Name == rec.Vmstate && !known }

// place adds what is wrong with where the disk is now.
func (e *BlockedError) place(d RecordDisk, img vm.Image, known bool) error {
	if !known || img.Path == "" {
		e.add(d.Name, "is no disk of the VM any more", "bring it back, with the image "+d.Path)
		return nil
	}
	path, err := filepath.Abs(img.Path)
	switch {
	case err != nil:
		return err
	case path != d.Path:
		e.add(d.Name, "is written in "+path+" now, and "+d.Path+" holds the snapshot", "load or commit the external snapshots that were made since")
	case img.ReadOnly:
		e.add(d.Name, "is read-only now", "make it writable")
	}
	return nil
}

// loadable looks whether an image holds the snapshot, and could be brought back to it.
func (k *Keeper) loadable(ctx context.Context, r *vm.Reservation, rec *Record, d RecordDisk, cold bool, blocked *BlockedError) error {
	if _, err := k.images.Usable(ctx, d.Path, d.Format, true, keysOf(r.Instance(), d.Name)...); err != nil {
		return err
	}
	held, ok, err := k.held(ctx, d.Path, rec.Name)
	switch {
	case err != nil:
		return err
	case !ok:
		return &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: "find snapshot " + rec.Name + " in " + d.Path,
			Msg: "somebody else has deleted it from disk " + d.Name, Hint: "delete the rest of it"}
	case d.Name == rec.Vmstate && held.Memory == 0 && !cold:
		blocked.add(d.Name, "does not hold the memory any more", "use ColdBoot")
	}
	overlays, err := k.images.Files(ctx, storage.FileFilter{Base: d.Path})
	if err != nil {
		return err
	}
	for _, f := range overlays {
		if there, err := isThere(f.Path); err != nil || !there {
			continue // what is gone stands on nothing
		}
		blocked.add(d.Name, "is the base of "+f.Path, "delete that one, or make the changes in another overlay")
	}
	names, err := k.images.Bitmaps(ctx, d.Path)
	for _, name := range names {
		if !strings.HasPrefix(name, bitmapPrefix) {
			blocked.add(d.Name, "has the dirty bitmap "+name+", which maqet did not make and which the load would make wrong",
				`remove it with "qemu-img bitmap --remove"`)
		}
	}
	return err
}

// bitmapPrefix begins the names of all dirty bitmaps of maqet.
const bitmapPrefix = "maqet-"

// held returns the snapshot of that name in an image, if it is there. An image that is not there
// holds nothing.
func (k *Keeper) held(ctx context.Context, path, name string) (storage.Snapshot, bool, error) {
	list, err := k.images.Snapshots(ctx, path)
	if err != nil {
		return storage.Snapshot{}, false, unlessMissing(err)
	}
	for _, s := range list {
		if s.Name == name {
			return s, true, nil
		}
	}
	return storage.Snapshot{}, false, nil
}

// keysOf are the keys of a disk's images.
func keysOf(inst vm.Instance, disk string) []storage.Secret {
	for i, d := range inst.Config.Disks {
		if d.NameAt(i) == disk && d.KeyFile != "" {
			return []storage.Secret{{File: d.KeyFile}}
		}
	}
	return nil
}
