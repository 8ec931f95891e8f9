package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"

	"github.com/kdomanski/iso9660"

	"github.com/maqet/maqet/errors"
)

// ISOSpec says which CD image to make.
type ISOSpec struct {
	Path  string // below the root folder; must not exist; its folder is made, with mode 0700
	Label string // the volume's: 1 to 32 letters, digits, '_' and '-'
	// Files are the files of its only folder: name -> content. A name has at most 20
	// lower-case letters, digits and '-', which Linux shows as they are (its isofs makes
	// names lower-case, and cuts off the version); and perhaps an extension of letters.
	Files map[string][]byte
	For   For
}

var (
	isoLabel = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	isoName  = regexp.MustCompile(`^[a-z0-9-]{1,20}(\.[a-z]{1,7})?$`)
)

// ISO makes an ISO 9660 image (ECMA-119) below the root folder, with mode 0600. Linux
// shows its files read-only and as root's, under the names that they were given.
// errors.ErrImageCreation; an existing file is never overwritten, and when it fails, or
// ctx ends, nothing is left.
//
// While it works, the files lie in a folder of their own, mode 0700, below os.TempDir.
func (m *Manager) ISO(ctx context.Context, spec ISOSpec) (Image, error) {
	err := checkISO(spec)
	img := Image{Format: FormatRaw}
	if err == nil {
		img, err = m.place(ctx, spec.Path, spec.For.as(KindISO), img, func(file *os.File) error { return writeISO(ctx, file, spec) })
	}
	if err == nil {
		img, err = m.refresh(context.WithoutCancel(ctx), img.Path, FormatRaw) // its size is known only now
	}
	return img, creationError("create CD image "+quote(spec.Path), err)
}

func checkISO(spec ISOSpec) error {
	if !isoLabel.MatchString(spec.Label) {
		return fmt.Errorf("label %q is not 1 to 32 letters, digits, '_' and '-'", spec.Label)
	}
	if len(spec.Files) == 0 {
		return errors.New("it would have no files")
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Files)) {
		if !isoName.MatchString(name) {
			return fmt.Errorf("file name %q is not lower-case letters, digits and '-', with an extension of letters or none", name)
		}
	}
	return nil
}

func writeISO(ctx context.Context, to io.Writer, spec ISOSpec) (err error) {
	w, err := iso9660.NewWriter()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Cleanup()) }()
	for _, name := range slices.Sorted(maps.Keys(spec.Files)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.AddFile(bytes.NewReader(spec.Files[name]), name); err != nil {
			return err
		}
	}
	return w.WriteTo(to, spec.Label)
}
