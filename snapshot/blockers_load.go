package snapshot

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// LoadBlockers says what stands in the way of a [Coordinator.Load] of a snapshot with these
// options now; none: nothing that can be seen beforehand. Nothing is done, but to mend what an
// interrupted operation has left, as each operation does first.
//
// Errors: errors.ErrSnapshotNotFound; what vm.Manager says of ref, and of its guest;
// errors.ErrInvalidConfiguration for options that Load does not take.
func (c *Coordinator) LoadBlockers(ctx context.Context, ref, name string, opts ...Option) ([]Blocker, error) {
	ctx, op, err := c.begin(ctx, onLoad, "look for what blocks loading snapshot "+strconv.Quote(name), ref, opts)
	if err != nil {
		return nil, err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) {
		if op.backend != nil {
			return struct{}{}, op.allowed(ctx, vm.LoadingSnapshot, op.spec(name, op.inst))
		}
		rec, err := op.find(name)
		if err == nil {
			err = op.buried(rec)
		}
		if err == nil {
			err = op.unblocked(ctx, rec)
		}
		return struct{}{}, err
	})
	if blocked := (*BlockedError)(nil); errors.As(err, &blocked) {
		return blocked.Blockers, nil
	}
	return nil, err
}

// unblocked says what stands in the way of loading a snapshot: disks that don't hold it where
// they are written now, dirty bitmaps of others, and for memory whatever of the machine is not
// as it was.
func (op *operation) unblocked(ctx context.Context, rec *Record) error {
	s := &search{Coordinator: op.Coordinator, inst: op.inst}
	err := op.loadBlockers(ctx, s, rec)
	if blocked := (*BlockedError)(nil); errors.As(err, &blocked) {
		s.found, err = append(s.found, blocked.Blockers...), nil
	}
	if err == nil && rec.Vmstate != "" && !op.cold {
		var version string
		if version, err = op.version(ctx); err == nil {
			s.found = append(s.found, misfits(rec, op.inst, version)...)
		}
	}
	return op.refuse(s.found, err)
}

// loadBlockers looks at the disks.
func (op *operation) loadBlockers(ctx context.Context, s *search, rec *Record) error {
	switch {
	case rec.Kind == External:
		return s.held(ctx, rec)
	case !op.live():
		_, err := op.keeper.loadableDisks(ctx, op.r, rec, op.cold)
		return err
	case rec.Kind == Memory && !op.cold:
		conn, err := op.connect(ctx)
		if err == nil {
			_, err = op.loadable(ctx, conn, rec)
		}
		return err
	}
	// The guest will be ended, and its disks loaded then.
	if err := s.held(ctx, rec); err != nil {
		return err
	}
	return s.places(ctx, rec)
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
	return s.bitmaps(ctx, here)
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
	list, err := nodesOf(ctx, guest.QMP())
	if err != nil {
		return err
	}
	for _, img := range images {
		n, _ := list.holding(img.Path)
		for _, b := range n.bitmaps {
			if !strings.HasPrefix(b.Name, bitmapPrefix) {
				s.add(img.Name, "has the dirty bitmap "+strconv.Quote(b.Name)+", which is not maqet's, and QEMU loads no snapshot then",
					"remove it by block-dirty-bitmap-remove from node "+strconv.Quote(n.name))
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
