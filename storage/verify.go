package storage

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// FindingKind says what is wrong with a registered file.
type FindingKind string

// Values of FindingKind.
const (
	FoundMissing    FindingKind = "missing"    // the file is gone: see [Manager.Forget]
	FoundUnfinished FindingKind = "unfinished" // who was making it died: delete it
	FoundFormat     FindingKind = "format"     // it has another format
	FoundSize       FindingKind = "size"       // it has another virtual size: see [Manager.Refresh]
	FoundBase       FindingKind = "base"       // it stands on another image, or that can't be used
	FoundDamaged    FindingKind = "damaged"    // see [Manager.RepairAll]
	FoundLeaks      FindingKind = "leaks"      // its reference counts are wrong, and no data: see [Manager.Repair]
	FoundUnchecked  FindingKind = "unchecked"  // it could not be checked, for instance because it is being worked on
)

// Finding is a registered file that is not as it is registered, or not as it should be.
type Finding struct {
	File File        `json:"file"`
	Kind FindingKind `json:"kind"`
	// Detail says what was found.
	Detail string `json:"detail"`
}

// VerifySpec says what to verify.
type VerifySpec struct {
	Owner string // ID of a VM: only its files; empty: all
	// Deep checks the structure of each qcow2 image, too, which takes long for large ones. Images
	// that are being written can't be checked.
	Deep bool
	// Progress is told how many bytes of the files are done; else as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Verify compares the registered files with what is there, and lists what differs, by path. It
// changes nothing. Files that are being made are left out. An error, errors.ErrStorage, says
// that the comparison itself failed.
func (m *Manager) Verify(ctx context.Context, spec VerifySpec) ([]Finding, error) {
	list, err := m.verify(ctx, spec)
	return list, storageError("verify images", err)
}

func (m *Manager) verify(ctx context.Context, spec VerifySpec) ([]Finding, error) {
	files, err := m.files.Files(ctx, FileFilter{Owner: spec.Owner})
	if err != nil {
		return nil, err
	}
	sizes := []int64{0}
	for _, f := range files {
		var size int64
		if info, err := os.Lstat(f.Path); err == nil {
			size = allocated(info)
		}
		sizes = append(sizes, size)
	}
	progress := newMeter(spec.Progress, sizes...)
	var list []Finding
	for i, f := range files {
		progress = progress.then(sizes[i+1])
		found, err := m.compare(ctx, f)
		if err == nil && len(found) == 0 && spec.Deep {
			found, err = m.deepen(ctx, f)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
		progress.at(sizes[i+1])
	}
	return list, nil
}

// compare compares a row with the heads of the files.
func (m *Manager) compare(ctx context.Context, f File) (found []Finding, err error) {
	add := func(kind FindingKind, format string, args ...any) {
		found = append(found, Finding{f, kind, fmt.Sprintf(format, args...)})
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if f.Unfinished {
		return m.compareUnfinished(ctx, f)
	}
	if imagelock.Excluded(f.Path) {
		add(FoundUnchecked, "it is being worked on")
		return found, nil
	}
	l, fault := examine(f.Path, f.Format)
	if fault != nil && errors.Is(fault, fs.ErrNotExist) {
		return m.gone(ctx, f)
	}
	if fault != nil {
		add(kindOf(fault), "%v", fault.at([]string{f.Path}))
		return found, nil
	}
	if f.Size != 0 && l.Size != f.Size { // 0: not known
		add(FoundSize, "it has %d bytes, and is registered with %d", l.Size, f.Size)
	}
	if base := baseName(l.Base); base != f.Base {
		add(FoundBase, "it stands on %q, and is registered with %q", base, f.Base)
	} else if _, err := walk(ctx, f.Path, f.Format); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		add(FoundBase, "%v", err)
	}
	return found, nil
}

// kindOf says what is wrong with an image whose head was looked at.
func kindOf(fault *ImageError) FindingKind {
	var format *FormatError
	var path *fs.PathError
	switch {
	case errors.As(fault, &format):
		return FoundFormat
	case errors.As(fault, &path):
		return FoundUnchecked
	}
	return FoundDamaged
}

func (m *Manager) compareUnfinished(ctx context.Context, f File) ([]Finding, error) {
	if _, err := os.Lstat(f.Path); errors.Is(err, fs.ErrNotExist) {
		return m.gone(ctx, f)
	}
	if imagelock.Excluded(f.Path) {
		return nil, nil // its maker lives
	}
	return m.again(ctx, f, Finding{f, FoundUnfinished, "who was making it died"})
}

func (m *Manager) gone(ctx context.Context, f File) ([]Finding, error) {
	return m.again(ctx, f, Finding{f, FoundMissing, "there is no such file"})
}

// again drops a finding of a row that is gone meanwhile, or another one: somebody was at work.
func (m *Manager) again(ctx context.Context, f File, what Finding) ([]Finding, error) {
	now, err := m.files.Files(ctx, FileFilter{Path: f.Path})
	if err != nil || len(now) == 0 || now[0] != f {
		return nil, err
	}
	return []Finding{what}, nil
}

// deepen checks the structure of an image.
func (m *Manager) deepen(ctx context.Context, f File) ([]Finding, error) {
	if f.Unfinished {
		return nil, nil
	}
	report, err := m.check(ctx, f.Path, f.Format)
	if err == nil && report.Corruptions > 0 {
		if l, fault := examine(f.Path, f.Format); fault == nil && l.head.dirty {
			return []Finding{{f, FoundLeaks, "its user was killed, and its reference counts are out of date"}}, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, err
	case errors.Is(err, errors.ErrQEMUNotFound):
		return nil, err
	case err != nil:
		return []Finding{{f, FoundUnchecked, err.Error()}}, nil
	case report.Corruptions > 0 || report.Errors > 0:
		return []Finding{{f, FoundDamaged, fmt.Sprintf("%d errors, %d leaked clusters, %d failures of the check",
			report.Corruptions, report.Leaks, report.Errors)}}, nil
	case report.Leaks > 0:
		return []Finding{{f, FoundLeaks, fmt.Sprintf("%d leaked clusters", report.Leaks)}}, nil
	}
	return nil, nil
}
