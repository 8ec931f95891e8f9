package storage

import (
	"context"
	"encoding/json"
	"os/exec"

	"github.com/maqet/maqet/errors"
)

// CheckReport is what a check of a qcow2 image found: what "qemu-img check --output=json"
// says (QEMU, qapi/block-core.json, ImageCheck).
type CheckReport struct {
	// Corruptions are errors by which data is lost, or will be.
	Corruptions int64 `json:"corruptions"`
	// Leaks are clusters that take space and belong to nothing. They do no harm.
	Leaks int64 `json:"leaks"`
	// Errors are failures of the check itself: there may be more than was found.
	Errors int64 `json:"check-errors"`
	// CorruptionsFixed and LeaksFixed were found and repaired. They don't count above.
	CorruptionsFixed int64 `json:"corruptions-fixed"`
	LeaksFixed       int64 `json:"leaks-fixed"`

	TotalClusters      int64 `json:"total-clusters"`      // that the virtual size has
	AllocatedClusters  int64 `json:"allocated-clusters"`  // that hold data
	FragmentedClusters int64 `json:"fragmented-clusters"` // that do not follow the one before in the file
	CompressedClusters int64 `json:"compressed-clusters"`
	End                int64 `json:"image-end-offset"` // where the file's last cluster in use ends, in bytes
}

// Clean reports whether nothing was found, and nothing overlooked.
func (r CheckReport) Clean() bool { return r.Corruptions == 0 && r.Leaks == 0 && r.Errors == 0 }

// Exit codes of "qemu-img check" that go with a report (qemu-img(1), check).
var checkCodes = map[int]bool{0: true, 2: true, 3: true} // fine, corruptions, leaks

// Check looks for errors in the structure of an image that nobody uses, and says what it
// found; it changes nothing. Damage is no error: see [CheckReport.Clean]. A raw image has no
// structure that could be damaged, so that its report is empty. Bases are not checked.
//
// errors.ErrImageInUse names who writes to the image. An image whose header can't be
// read is an [*ImageError].
func (m *Manager) Check(ctx context.Context, path, format string) (CheckReport, error) {
	report, err := m.check(ctx, path, format)
	return report, storageError("check image "+quote(path), err)
}

func (m *Manager) check(ctx context.Context, path, format string) (CheckReport, error) {
	l, err := m.lone(path, format)
	if err != nil {
		return CheckReport{}, err
	}
	if fault := l.unused(false); fault != nil {
		return CheckReport{}, fault.at([]string{l.Path})
	}
	if format == FormatRaw {
		return CheckReport{}, nil
	}
	report, err := m.runCheck(ctx, l.Path)
	return report, blame(l, false, err)
}

// RepairAll repairs what it can of a damaged qcow2 image that nobody uses, in place, and says
// what it found and fixed. It can lose data: copy the image before. [Manager.Repair] frees leaked
// clusters only, and is what interrupted operations call for.
//
// What could not be repaired is in the report, and an [*ImageError]; errors.ErrImageInUse is as
// for [Manager.Resize].
func (m *Manager) RepairAll(ctx context.Context, path string) (CheckReport, error) {
	report, err := m.repairAll(ctx, path)
	return report, storageError("repair image "+quote(path), err)
}

func (m *Manager) repairAll(ctx context.Context, path string) (CheckReport, error) {
	l, err := m.lone(path, FormatQcow2)
	if err != nil {
		return CheckReport{}, err
	}
	fault := l.writable()
	if fault == nil {
		fault = l.unused(true)
	}
	if fault != nil {
		return CheckReport{}, fault.at([]string{l.Path})
	}
	c, err := m.exclude(ctx, []layer{l})
	if err != nil {
		return CheckReport{}, err
	}
	defer c.release()
	report, err := m.runCheck(ctx, l.Path, "-r", "all")
	_, err = m.changed(ctx, l, err)
	if err == nil && !report.Clean() {
		err = (&ImageError{Kind: errors.ErrStorage, Msg: "is still damaged", Fix: "bring it back from a backup"}).at([]string{l.Path})
	}
	return report, err
}

// lone returns an image without looking at those below it, which a check does not need, and
// whatever state it is in.
func (m *Manager) lone(path, format string) (layer, error) {
	path, err := absolute(path)
	if err == nil {
		err = checkFormat(format)
	}
	if err != nil {
		return layer{}, err
	}
	l, fault := examine(path, format)
	if fault != nil {
		return layer{}, fault.at([]string{path})
	}
	if l.Encrypted {
		return layer{}, (&ImageError{Kind: errors.ErrStorage, Msg: "is encrypted, and this is for images without a key", Fix: "convert it"}).at([]string{path})
	}
	return l, nil
}

func (m *Manager) runCheck(ctx context.Context, path string, args ...string) (report CheckReport, err error) {
	args = append([]string{"check", "--output=json", "-f", FormatQcow2}, args...)
	out, err := m.runner.Run(ctx, append(args, "--", path)...)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !checkCodes[exit.ExitCode()]) {
		return report, err
	}
	return report, json.Unmarshal(out, &report)
}
