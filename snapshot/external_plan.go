package snapshot

import (
	"context"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// merge is what a Commit does with one disk: what the images that go away hold is written into
// the one below them.
type merge struct {
	Disk   string   `json:"disk"`
	Merged []string `json:"merged"` // those that go away, the topmost first
	Base   string   `json:"base"`   // the image that the snapshot kept
	Format string   `json:"format"` // its
}

// stack is a disk's images.
type stack struct {
	disk  string
	chain []storage.Image // the one that is written first
	// at is the place in chain of the image that the snapshot kept; -1: the disk does not stand
	// on it, but on another branch, or the VM has no such disk.
	at int
	// kept is that image.
	kept RecordDisk
}

// stacks returns the images of a snapshot's disks, as they are now.
func (k *Keeper) stacks(ctx context.Context, r *vm.Reservation, rec *Record) (list []stack, err error) {
	images := r.Images()
	for _, d := range rec.Disks {
		s := stack{disk: d.Name, at: -1, kept: d}
		at := slices.IndexFunc(images, func(img vm.Image) bool { return img.Name == d.Name && img.Path != "" })
		if at >= 0 {
			if s.chain, err = k.images.Chain(ctx, images[at].Path, images[at].Format); err != nil {
				return nil, err
			}
			s.at = slices.IndexFunc(s.chain, func(img storage.Image) bool { return sameFile(img.Path, d.Path) })
		}
		list = append(list, s)
	}
	return list, nil
}

// above returns the images over the one that the snapshot kept, the topmost first; nil when
// the disk does not stand on it.
func (s stack) above() (paths []string) {
	for i := range max(0, s.at) {
		paths = append(paths, s.chain[i].Path)
	}
	return paths
}

// ours selects the files that were made for the VM.
func (k *Keeper) ours(ctx context.Context, id string) (map[string]storage.File, error) {
	files, err := k.images.Files(ctx, storage.FileFilter{Owner: id})
	byPath := map[string]storage.File{}
	for _, f := range files {
		byPath[f.Path] = f
	}
	return byPath, err
}

// needed returns the images that the VM's present and its snapshots need, except those of one
// snapshot, if any.
func (k *Keeper) needed(ctx context.Context, r *vm.Reservation, except *Record) (map[string]bool, error) {
	need := map[string]bool{}
	add := func(path, format string) error {
		chain, err := k.images.Chain(ctx, path, format)
		for _, img := range chain {
			need[img.Path] = true
		}
		if errors.Is(err, errors.ErrImageNotFound) {
			return nil // what is not there needs nothing
		}
		return err
	}
	for _, img := range r.Images() {
		if img.Path == "" {
			continue
		}
		if err := add(img.Path, img.Format); err != nil {
			return nil, err
		}
	}
	records, err := k.records.Snapshots(ctx, r.Instance().ID)
	if err != nil {
		return nil, err
	}
	for i := range records {
		if except != nil && records[i].Name == except.Name {
			continue
		}
		for _, d := range records[i].Disks {
			if err := add(d.Path, d.Format); err != nil {
				return nil, err
			}
		}
	}
	return need, nil
}

// discard deletes files that were made for the VM and that nothing needs any more, the topmost
// first. One that is the base of another file stays, and so does any image that the
// configuration names.
func (k *Keeper) discard(ctx context.Context, r *vm.Reservation, except *Record, paths []string) error {
	inst := r.Instance()
	ours, err := k.ours(ctx, inst.ID)
	if err != nil {
		return err
	}
	need, err := k.needed(ctx, r, except)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if _, made := ours[path]; !made || need[path] || configured(inst, path) {
			continue
		}
		over, err := k.images.Files(ctx, storage.FileFilter{Base: path})
		if err != nil {
			return err
		}
		if len(over) > 0 {
			continue
		}
		k.step(ctx, "discard "+ours[path].Disk)
		if err := k.images.Delete(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// configured reports whether path is an image that the user brought.
func configured(inst vm.Instance, path string) bool {
	for _, d := range inst.Config.Disks {
		if d.Path != "" && sameFile(d.Path, path) || d.Base != "" && sameFile(d.Base, path) {
			return true
		}
	}
	for _, d := range inst.Plugged {
		if d.Disk != nil && sameFile(d.Disk.Path, path) {
			return true
		}
	}
	return false
}

// holdsSnapshots names the internal snapshots in images that are about to go away: they would
// go with them.
func (op *operation) holdsSnapshots(ctx context.Context, disk string, paths []string) (blockers []Blocker, err error) {
	for _, path := range paths {
		list, err := op.keeper.images.Snapshots(ctx, path)
		if errors.Is(err, errors.ErrImageNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			blockers = append(blockers, Blocker{disk, "holds the snapshot " + s.Name + " in " + path + ", which would go away",
				"delete " + s.Name + " first"})
		}
	}
	return blockers, nil
}

// branches names what else stands on images that are about to be written.
func (op *operation) branches(ctx context.Context, s stack, paths []string) (blockers []Blocker, err error) {
	for _, path := range paths {
		over, err := op.keeper.images.Files(ctx, storage.FileFilter{Base: path})
		if err != nil {
			return nil, err
		}
		for _, f := range over {
			if slices.ContainsFunc(s.chain, func(img storage.Image) bool { return img.Path == f.Path }) {
				continue
			}
			blockers = append(blockers, Blocker{s.disk, "can't be written: " + path + " is also below " + f.Path + op.whose(f),
				"delete what stands on it, or stream the snapshot instead"})
		}
	}
	return blockers, nil
}

// whose says which snapshot or VM needs a file.
func (op *operation) whose(f storage.File) string {
	for _, rec := range op.records {
		for _, d := range rec.Disks {
			if d.Path == f.Path {
				return ", of snapshot " + rec.Name
			}
		}
	}
	if f.Owner != op.inst.ID && f.Owner != "" {
		return ", of VM " + f.Owner
	}
	return ""
}

// buried says what keeps an internal snapshot from being loaded or deleted: external snapshots
// that were made since lie over the images that hold it.
func (op *operation) buried(rec *Record) error {
	if rec.Kind == External {
		return nil
	}
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	for i := range op.records {
		over := &op.records[i]
		if over.Kind != External {
			continue
		}
		for _, d := range over.Disks {
			if slices.ContainsFunc(rec.Disks, func(held RecordDisk) bool { return held.Name == d.Name && sameFile(held.Path, d.Path) }) {
				blocked.Blockers = append(blocked.Blockers, Blocker{d.Name, "lies below the external snapshot " + over.Name,
					"commit or drop " + over.Name + " first"})
			}
		}
	}
	if len(blocked.Blockers) > 0 {
		return blocked
	}
	return nil
}
