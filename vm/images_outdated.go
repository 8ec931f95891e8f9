package vm

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// outdated returns what another configuration of a VM would change to no effect: the base of
// a disk whose overlay is there already, and kept.
func (k *imageKeeper) outdated(inst Instance, cfg Config) (problems []errors.Problem) {
	bases := map[string]string{}
	for i, d := range inst.Config.Disks {
		if !d.inPlace() {
			bases[d.NameAt(i)] = d.Base
		}
	}
	for i, d := range cfg.Disks {
		base, made := bases[d.NameAt(i)]
		if !made || d.inPlace() || !d.keeps(cfg.lifetime()) || samePath(base, d.Base) {
			continue
		}
		image := k.pathOf(inst.ID, d.NameAt(i))
		if info, err := os.Lstat(image); err != nil || info.Size() == 0 {
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
