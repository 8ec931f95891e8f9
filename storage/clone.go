package storage

import (
	"context"
	"os"
)

// CloneSpec says which image to copy.
type CloneSpec struct {
	Source string // anywhere; it is only read
	Format string // of Source: FormatRaw or FormatQcow2, never probed
	Path   string // below the root folder; must not exist; its folder is made, with mode 0700
	For    For
	// Progress is told how many bytes of the file are done; else as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Clone copies an image as it is, with its internal snapshots. Where the file system can share
// blocks between files (btrfs, XFS), that takes no space and hardly any time; elsewhere holes
// stay holes.
//
// Of a chain only the image itself is copied: the copy stands on the same base, which must
// not be written from then on, as that of [Manager.Overlay]. [Manager.Convert] makes one image
// of a chain.
//
// Errors are those of [Manager.Convert].
func (m *Manager) Clone(ctx context.Context, spec CloneSpec) (Image, error) {
	layers, err := usableLayers(ctx, spec.Source, spec.Format, false, true)
	var img Image
	if err == nil {
		img, err = m.duplicate(ctx, layers, spec.Path, spec.For, spec.Progress, nil)
	}
	return img, creationError("clone image "+quote(spec.Source)+" to "+quote(spec.Path), err)
}

// duplicate copies the first of some layers. verify, if there is one, looks at the copy before
// it gets its name, and does work of the copy's size.
func (m *Manager) duplicate(ctx context.Context, layers []layer, path string, purpose For, report func(done, total int64),
	verify func(*os.File, meter) error) (Image, error) {
	from := layers[0]
	src, err := openSource(from.Path)
	if err != nil {
		return Image{}, err
	}
	defer src.close()
	kind := KindDisk
	guess := Image{Format: from.Format, Size: from.Size}
	if from.Base != "" {
		kind = KindOverlay
		base, err := standOn(from.Base)
		if err != nil {
			return Image{}, err
		}
		defer base.release()
		if err := checkBackingName(base.path); err != nil {
			return Image{}, err
		}
		guess.Base, guess.BaseFormat = base.path, from.BaseFormat
	}
	return m.produce(ctx, path, purpose.as(kind), guess, func(file *os.File) error {
		parts := []int64{src.size}
		if verify != nil {
			parts = append(parts, src.size)
		}
		progress := newMeter(report, parts...)
		if err := src.copyTo(ctx, file, m.share, progress); err != nil {
			return err
		}
		if verify != nil {
			if err := verify(file, progress.then(src.size)); err != nil {
				return err
			}
		}
		return m.nameBase(ctx, file, from, guess)
	})
}

// nameBase has a copy name its base as it is registered, if it does not: from another folder a
// relative name, or one of a symbolic link that is changed, leads elsewhere.
func (m *Manager) nameBase(ctx context.Context, file *os.File, from layer, want Image) error {
	if want.Base == "" || from.head.backing == want.Base {
		return nil
	}
	return m.img(ctx, "rebase", "-q", "-u", "-f", FormatQcow2, "-F", want.BaseFormat, "-b", want.Base, "--", file.Name())
}
