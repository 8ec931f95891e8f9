package vm

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// outdated returns what another configuration of a VM would change to no effect: the image of
// a disk that external snapshots have put layers over, and the base of one whose overlay is
// there already, and kept.
func (k *imageKeeper) outdated(ctx context.Context, inst Instance, cfg Config) (problems []errors.Problem, err error) {
	problems = uprooted(inst, cfg)
	bases := map[string]string{}
	for i, d := range inst.Config.Disks {
		if !d.inPlace() {
			bases[d.NameAt(i)] = d.Base
		}
	}
	for i, d := range cfg.Disks {
		base, made := bases[d.NameAt(i)]
		if !made || inst.layer(d.NameAt(i)) != "" || d.inPlace() || !d.keeps(cfg.lifetime()) || samePath(base, d.Base) {
			continue
		}
		image, err := k.pathOf(ctx, inst.ID, d.NameAt(i))
		if err != nil {
			return nil, err
		}
		if size, err := k.place.ImageSize(ctx, image); err != nil || size == 0 {
			if err != nil && !errors.Is(err, errors.ErrImageNotFound) {
				return nil, err
			}
			continue
		}
		what := fmt.Sprintf("has been made over %q", base)
		if base == "" {
			what = "has been made without a base"
		}
		problems = append(problems, errors.Problem{Field: fmt.Sprintf("disks[%d].base", i), Value: d.Base,
			Message: "can't change: the disk " + what + ", and what the guest wrote is kept in " + image,
			Fix:     "give the disk another name, or set keep to false, or remove the VM with its images"})
	}
	return problems, nil
}

// uprooted returns the disks with layers that another configuration leaves out or gives
// another image: what the guest wrote is in the layers, and they hold no other image's data.
func uprooted(inst Instance, cfg Config) (problems []errors.Problem) {
	for _, l := range inst.Layers {
		old, configured := inst.Config.disk(l.Disk)
		if !configured {
			continue // of a plugged disk
		}
		field, value := "disks", ""
		now, stays := cfg.disk(l.Disk)
		if stays {
			if samePath(old.Path, now.Path) && samePath(old.Base, now.Base) && old.ImageFormat() == now.ImageFormat() &&
				old.IsReadOnly() == now.IsReadOnly() {
				continue
			}
			field, value = fmt.Sprintf("disks[%d]", cfg.diskIndex(l.Disk)), cmp.Or(now.Path, now.Base)
		}
		problems = append(problems, errors.Problem{Field: field, Value: value,
			Message: fmt.Sprintf("can't change: external snapshots lie over disk %s, and what the guest wrote since is in %s", l.Disk, l.Path),
			Fix:     "commit or drop the external snapshots first, or give the new image to a disk of another name beside it"})
	}
	return problems
}

// samePath reports whether two paths are the same text when both are absolute.
func samePath(a, b string) bool {
	if a == b || a == "" || b == "" {
		return a == b
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	return errA == nil && errB == nil && absA == absB
}
