package storage

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/maqet/maqet/errors"
)

// Backing says what becomes of the base of an image that is imported.
type Backing string

// Values of Backing.
const (
	// BackingRefuse imports no image that has a base: a stranger's image could name any
	// file of this host, which the guest could read then.
	BackingRefuse Backing = ""
	// BackingKeep leaves the new image standing on the same base.
	BackingKeep Backing = "keep"
	// BackingFlatten makes one image of the image and all those below it.
	BackingFlatten Backing = "flatten"
)

// ImportSpec says which image to take over, and as what.
type ImportSpec struct {
	Source string // anywhere; it is only read
	Format string // of Source: FormatRaw or FormatQcow2, never probed
	Path   string // below the root folder; must not exist; its folder is made, with mode 0700
	To     string // format of the new image; empty: that of Source
	// Qcow2 is how a new qcow2 image is laid out. If it is set, and if To is another format
	// than that of Source, or Backing is BackingFlatten, the image is converted; else it is
	// copied as it is.
	Qcow2    Qcow2Options
	Compress bool // has the clusters compressed, which is a conversion, too
	// SHA256 and SHA512 are the sums, in hexadecimal digits, that Source must have. Empty: any.
	SHA256, SHA512 string
	// Backing says what to do if Source has a base. Empty: BackingRefuse.
	Backing Backing
	For     For
	// Progress is told how many bytes are done, of those to read for sums and those to copy or
	// convert; else as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Import takes an image from anywhere over into the root folder, by copying or converting it.
// If sums are given they are verified before there is an image at spec.Path: one that is
// copied is read again as it was written, and one that is converted is refused if it
// changes meanwhile. An image whose first bytes are of another format than is stated is refused,
// and so is one with a base, unless spec.Backing says otherwise, and one that keeps its data
// elsewhere. What was imported is not looked into any further: see [Manager.Check].
//
// Other sums are a [*SumError]. Else errors are those of [Manager.Convert].
func (m *Manager) Import(ctx context.Context, spec ImportSpec) (Image, error) {
	spec.To = cmp.Or(spec.To, spec.Format)
	img, err := m.importImage(ctx, spec)
	return img, creationError("import image "+quote(spec.Source)+" as "+quote(spec.Path), err)
}

func (m *Manager) importImage(ctx context.Context, spec ImportSpec) (Image, error) {
	want, err := parseSums(spec.SHA256, spec.SHA512)
	if err == nil {
		err = checkTarget(spec.To, spec.Qcow2, spec.Compress)
	}
	if err == nil {
		err = oneOf("backing", string(spec.Backing), string(BackingKeep), string(BackingFlatten))
	}
	if err != nil {
		return Image{}, err
	}
	// Before anything below it is looked at: that could be any file.
	if err := refuseBase(spec); err != nil {
		return Image{}, err
	}
	convert := spec.To != spec.Format || spec.Compress || spec.Qcow2 != Qcow2Options{} || spec.Backing == BackingFlatten
	layers, err := usableLayers(ctx, spec.Source, spec.Format, false, !convert) // a copy needs no key
	if err != nil {
		return Image{}, err
	}
	if convert && spec.Backing == BackingKeep && len(layers) > 1 {
		return Image{}, errors.New("an image that is converted does not keep its base: flatten it, or import it as it is")
	}
	if convert {
		return m.importConverted(ctx, spec, layers, want)
	}
	return m.duplicate(ctx, layers, spec.Path, spec.For, spec.Progress, want.verifier(ctx, layers[0].Path))
}

// refuseBase refuses an image with a base unless it is clear what to do with that.
func refuseBase(spec ImportSpec) error {
	path, err := absolute(spec.Source)
	if err != nil || spec.Backing != BackingRefuse || spec.Format != FormatQcow2 {
		return err
	}
	f, err := openImage(path)
	if err != nil {
		return nil // it is looked at again, and the error said better
	}
	defer f.Close()
	head, err := readQcow2(f)
	if err != nil || head.backing == "" {
		return nil //nolint:nilerr // as above
	}
	return (&ImageError{Kind: errors.ErrStorage, Msg: fmt.Sprintf("stands on another one, %q", head.backing),
		Fix: "if you trust it, import it with BackingFlatten, or with BackingKeep"}).at([]string{path})
}

// importConverted converts an image whose sums are verified before.
func (m *Manager) importConverted(ctx context.Context, spec ImportSpec, layers []layer, want sums) (Image, error) {
	from := layers[0].Image
	src, err := openSource(from.Path)
	if err != nil {
		return Image{}, err
	}
	defer src.close()
	guess := Image{Format: spec.To, Size: from.Size}
	return m.produce(ctx, spec.Path, spec.For.as(KindDisk), guess, func(file *os.File) error {
		how := ConvertSpec{To: spec.To, Qcow2: spec.Qcow2, Compress: spec.Compress}
		verify := want.verifier(ctx, from.Path)
		if verify == nil {
			return m.convert(ctx, how, layers, file, newMeter(spec.Progress, from.Size))
		}
		progress := newMeter(spec.Progress, src.size, from.Size)
		err := verify(src.File, progress)
		if err == nil {
			err = m.convert(ctx, how, layers, file, progress.then(from.Size))
		}
		if err == nil {
			err = src.same() // what was converted is what was verified
		}
		return err
	})
}
