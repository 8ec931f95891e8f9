package snapshot

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// holdings is what the images of a VM hold at one moment.
type holdings struct {
	// disks are the images that can hold snapshots and are there: those that are written, those
	// that hold memory for VMs whose disks can't, and those below external snapshots.
	disks []heldDisk
	// tables are the internal snapshots of each image that can have some and is there.
	tables map[string][]storage.Snapshot
	// images are all that were seen, by path. One that is not in it is not there.
	images map[string]storage.Image
}

// heldDisk is a disk, and where it is written now.
type heldDisk struct {
	name  string
	path  string
	spare bool // a snapshot need not be in it to be whole
}

// look reads the images that the VM uses, and those that records name.
func (c *Coordinator) look(ctx context.Context, inst vm.Instance, records []Record) (*holdings, error) {
	h := &holdings{tables: map[string][]storage.Snapshot{}, images: map[string]storage.Image{}}
	files, err := c.keeper.ours(ctx, inst.ID)
	if err != nil {
		return nil, err
	}
	for _, img := range c.vms.Images(inst) {
		if img.Path == "" || img.ReadOnly {
			continue
		}
		path, err := filepath.Abs(img.Path)
		if err == nil && !files[path].Unfinished { // else it is as good as not there
			err = c.keeper.disk(ctx, h, heldDisk{name: img.Name, path: path}, img.Format)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := c.keeper.memories(ctx, h, files); err != nil {
		return nil, err
	}
	for i := range records {
		for _, d := range records[i].Disks {
			if files[d.Path].Unfinished {
				continue
			}
			if err := c.keeper.disk(ctx, h, heldDisk{d.Name, d.Path, true}, d.Format); err != nil {
				return nil, err
			}
		}
	}
	return h, nil
}

// memories adds the images that hold memory only.
func (k *Keeper) memories(ctx context.Context, h *holdings, files map[string]storage.File) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		if f.Kind != storage.KindMemory || f.Unfinished {
			continue
		}
		if err := k.disk(ctx, h, heldDisk{f.Disk, f.Path, true}, f.Format); err != nil {
			return err
		}
	}
	return nil
}

// disk adds an image, unless that was done.
func (k *Keeper) disk(ctx context.Context, h *holdings, d heldDisk, format string) error {
	if _, seen := h.tables[d.path]; seen {
		return nil
	}
	if err := k.chain(ctx, h, d.path, format); err != nil {
		return err
	}
	err := k.table(ctx, h, d.path, format)
	if _, there := h.tables[d.path]; there {
		h.disks = append(h.disks, d)
	}
	return err
}

// chain looks at an image and those below it, unless that was done. That one is missing is no
// error.
func (k *Keeper) chain(ctx context.Context, h *holdings, path, format string) error {
	if _, seen := h.images[path]; seen {
		return nil
	}
	chain, err := k.images.Chain(ctx, path, format)
	for _, img := range chain {
		h.images[img.Path] = img
	}
	return unlessMissing(err)
}

// table reads the internal snapshots of an image. That it is missing is no error.
func (k *Keeper) table(ctx context.Context, h *holdings, path, format string) error {
	if format != storage.FormatQcow2 {
		return nil
	}
	list, err := k.images.Snapshots(ctx, path)
	if err == nil {
		h.tables[path] = list
	}
	return unlessMissing(err)
}

func unlessMissing(err error) error {
	if errors.Is(err, errors.ErrImageNotFound) {
		return nil
	}
	return err
}
