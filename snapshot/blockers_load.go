package snapshot

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// bitmapPrefix begins the names of maqet's own dirty bitmaps, which are removed by a load.
const bitmapPrefix = "maqet-"

// LoadBlockers says what stands in the way of a [Coordinator.Load] of a snapshot with these
// options now; none: nothing that can be seen beforehand. Nothing is done.
//
// Errors: errors.ErrSnapshotNotFound; what vm.Manager says of ref, and of its guest;
// errors.ErrInvalidConfiguration for options that Load does not take.
func (c *Coordinator) LoadBlockers(ctx context.Context, ref, name string, opts ...Option) ([]Blocker, error) {
	ctx, op, err := c.begin(ctx, onLoad, "look for what blocks loading snapshot "+strconv.Quote(name), ref, opts)
	if err != nil {
		return nil, err
	}
	defer op.release()
	rec, err := op.find(name)
	if err == nil {
		err = op.loadable(ctx, rec)
	}
	if blocked := (*BlockedError)(nil); errors.As(err, &blocked) {
		return blocked.Blockers, nil
	}
	return nil, err
}

// loadable says what stands in the way of loading a snapshot: what is not there of it, disks
// that don't hold it where they are written now, dirty bitmaps, and for memory whatever of the
// machine is not as it was.
func (op *operation) loadable(ctx context.Context, rec *Record) error {
	s := &search{Coordinator: op.Coordinator, inst: op.inst}
	err := s.held(ctx, rec)
	if err == nil && rec.Kind != External {
		err = s.places(ctx, rec)
	}
	if err == nil && rec.Vmstate != "" && !op.cold {
		var version string
		if version, err = op.version(ctx); err == nil {
			s.found = append(s.found, fits(rec, op.inst, version)...)
		}
	}
	return op.refuse(s.found, err)
}

// held names the disks whose images don't hold the snapshot any more.
func (s *search) held(ctx context.Context, rec *Record) error {
	h, err := s.look(ctx, s.inst, []Record{*rec})
	if err != nil {
		return err
	}
	for _, shown := range reconcile(s.inst, []Record{*rec}, h) {
		if shown.Status == Foreign {
			continue
		}
		for _, d := range shown.Disks {
			if !d.Present {
				s.add(d.Name, "does not hold it any more: "+strconv.Quote(d.Path), "delete the snapshot, which can't be loaded any more")
			}
		}
	}
	return nil
}

// places checks that each disk of an internal snapshot is written where the snapshot is, and
// can be loaded there.
func (s *search) places(ctx context.Context, rec *Record) error {
	images := s.written()
	var here []vm.Image
	for _, d := range rec.Disks {
		i := slices.IndexFunc(images, func(img vm.Image) bool { return img.Name == d.Name })
		switch {
		case i < 0 && d.Name == rec.Vmstate && len(rec.Disks) == 1: // an image for memory only
		case i < 0:
			s.add(d.Name, "is not one of the VM's disks any more, or not written any more", "attach it again")
		case !samePath(images[i].Path, d.Path) && s.layered(d.Name):
			s.add(d.Name, "is written in a layer above the image that holds it",
				"load or delete the external snapshots that were made since")
		case !samePath(images[i].Path, d.Path):
			s.add(d.Name, "has another image now: "+strconv.Quote(images[i].Path), "attach "+strconv.Quote(d.Path)+" again")
		default:
			here = append(here, images[i])
		}
	}
	if s.inst.State.Live() {
		return s.bitmaps(ctx, here)
	}
	for _, img := range here {
		if err := s.usable(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) layered(disk string) bool {
	return slices.ContainsFunc(s.inst.Layers, func(l vm.Layer) bool { return l.Disk == disk })
}

// bitmaps names dirty bitmaps of others: QEMU loads no snapshot into a disk that has one.
func (s *search) bitmaps(ctx context.Context, images []vm.Image) error {
	guest, err := s.vms.Live(ctx, s.inst.ID)
	if err != nil {
		return err
	}
	nodes, err := qapi.QueryNamedBlockNodes(ctx, guest.QMP(), true)
	if err != nil {
		return err
	}
	for _, img := range images {
		for _, n := range nodes {
			if !samePath(n.File, img.Path) {
				continue
			}
			for _, b := range n.DirtyBitmaps {
				if !strings.HasPrefix(b.Name, bitmapPrefix) {
					s.add(img.Name, "has the dirty bitmap "+strconv.Quote(b.Name)+", which is not maqet's, and QEMU loads no snapshot then",
						"remove it by block-dirty-bitmap-remove from node "+strconv.Quote(n.NodeName))
				}
			}
		}
	}
	return nil
}

// samePath compares paths of images, of which a configuration's can be relative.
func samePath(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB
}
