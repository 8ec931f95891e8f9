package storage

import (
	"cmp"
	"context"
	"os"

	"github.com/maqet/maqet/errors"
)

// ConvertSpec says what to make of an image.
type ConvertSpec struct {
	Source string // anywhere; it is only read, and so are those below it
	Format string // of Source: FormatRaw or FormatQcow2, never probed
	Path   string // below the root folder; must not exist; its folder is made, with mode 0700
	To     string // format of the new image; empty: FormatQcow2
	// Qcow2 is how a new qcow2 image is laid out.
	Qcow2 Qcow2Options
	// Compress has the clusters of a new qcow2 image compressed, by Qcow2.Compression.
	Compress bool
	For      For
	// Progress is told how many bytes of what the guest sees are done, in steps of about one
	// per cent. It is not called after Convert has returned, never twice at once, and holds the
	// work up while it runs. Nil: nobody is told.
	Progress func(done, total int64)
}

// Convert makes an image of its own, without a base, that holds what a guest sees of
// spec.Source now: other layout, other format, compressed. Internal snapshots, dirty bitmaps
// and holes in formats without them are not taken along; zeros take no space.
//
// It fails before anything is made if Source is being written, for instance by a running guest:
// errors.ErrImageInUse. Else as [Manager.Create]; a process that is killed leaves
// a registered partial file, which [Manager.Orphans] lists.
func (m *Manager) Convert(ctx context.Context, spec ConvertSpec) (Image, error) {
	spec.To = cmp.Or(spec.To, FormatQcow2)
	layers, err := m.convertible(ctx, spec)
	var img Image
	if err == nil {
		img, err = m.produce(ctx, spec.Path, spec.For.as(KindDisk), Image{Format: spec.To, Size: layers[0].Size}, func(file *os.File) error {
			return m.convert(ctx, spec, layers, file, newMeter(spec.Progress, layers[0].Size))
		})
	}
	return img, creationError("convert image "+quote(spec.Source)+" to "+quote(spec.Path), err)
}

// convertible checks a conversion, and returns the source and what is below it.
func (m *Manager) convertible(ctx context.Context, spec ConvertSpec) ([]layer, error) {
	if err := checkTarget(spec.To, spec.Qcow2, spec.Compress); err != nil {
		return nil, err
	}
	return usableLayers(ctx, spec.Source, spec.Format, false, false)
}

// checkTarget checks how an image is to be made.
func checkTarget(format string, options Qcow2Options, compress bool) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	if format == FormatRaw && (compress || options != Qcow2Options{}) {
		return errors.New("a raw image has no options of a qcow2, and can't be compressed")
	}
	if compress && options.Preallocation != "" && options.Preallocation != PreallocationOff {
		return errors.New("an image is either compressed or preallocated")
	}
	return options.check()
}

// convert runs qemu-img for a checked conversion into a file.
func (m *Manager) convert(ctx context.Context, spec ConvertSpec, layers []layer, to *os.File, progress meter) error {
	release, err := readingAll(layers)
	if err != nil {
		return err
	}
	defer release()
	from := layers[0]
	args := []string{"-f", from.Format, "-O", spec.To}
	if spec.Compress {
		args = append(args, "-c")
	}
	args = append(args, spec.Qcow2.args()...)
	return m.work(ctx, progress, "convert", append(args, "--", from.Path, to.Name())...)
}
