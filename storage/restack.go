package storage

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// MergeDown writes what top, a qcow2 image that nobody uses, and all images between them hold
// into base, on which it stands. base is then what top was, and top still is. Interrupted it
// leaves top as it is, and base part of the way: doing it again finishes it.
func (m *Manager) MergeDown(ctx context.Context, top, base string) error {
	_, err := m.runner.Run(ctx, "commit", "-q", "-f", FormatQcow2, "-d", "-b", base, "--", top)
	var known []File
	if err == nil {
		known, err = m.files.Files(ctx, FileFilter{Path: base})
	}
	if len(known) > 0 { // it may have become as large as top
		_, err = m.refresh(ctx, base, known[0].Format)
	}
	return errors.Wrap(errors.ErrStorage, "merge image "+quote(top)+" into "+quote(base), "", err)
}

// Restack has a qcow2 image that nobody uses stand on base, or on no image if that is empty.
// With pull what it needs of those that it stood on is copied into it first, so that it stays
// what it was; without, base must hold just that. Interrupted it leaves the image as it was.
func (m *Manager) Restack(ctx context.Context, path, base, baseFormat string, pull bool) error {
	args := []string{"rebase", "-q", "-f", FormatQcow2}
	if pull {
		args = append(args, writeThrough...)
	} else {
		args = append(args, "-u")
	}
	if base != "" {
		args = append(args, "-F", baseFormat)
	}
	_, err := m.runner.Run(ctx, append(args, "-b", base, "--", path)...)
	if err == nil {
		err = m.Restacked(ctx, path)
	}
	return errors.Wrap(errors.ErrStorage, "put image "+quote(path)+" over "+quote(base), "", err)
}

// Restacked registers what a qcow2 image stands on now: QEMU has changed it. One that is not
// registered is let be.
func (m *Manager) Restacked(ctx context.Context, path string) error {
	_, err := m.refresh(ctx, path, FormatQcow2)
	return err
}
