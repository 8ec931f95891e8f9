package storage

import (
	"context"
	"os"

	"github.com/maqet/maqet/errors"
)

// CompressSpec says which image to compress.
type CompressSpec struct {
	Path string // a registered qcow2 image
	// Compression is CompressionZlib or CompressionZstd. Empty: zlib.
	Compression string
	// Progress is as ConvertSpec.Progress.
	Progress func(done, total int64)
}

// Compress makes a registered qcow2 image that nobody uses smaller, and returns what it is
// then: its clusters are compressed, and what a guest has freed takes no more space. It stands
// on the same base, has the same cluster size, and keeps its dirty bitmaps. Guests read it as
// before; what they write is not compressed. An image that is not registered is no business of
// maqet's: see [Manager.Convert].
//
// A new image is made beside it, which then takes its place: there is room for both needed.
// When it fails, or ctx ends, the image is as it was, and nothing is left; a process that
// is killed leaves the image as it was, or whole as it will be, and perhaps a registered
// unfinished file. Internal snapshots would be lost, so that an image with some is
// refused. Else errors are those of [Manager.Resize].
func (m *Manager) Compress(ctx context.Context, spec CompressSpec) (Image, error) {
	img, err := m.compress(ctx, spec)
	return img, storageError("compress image "+quote(spec.Path), err)
}

func (m *Manager) compress(ctx context.Context, spec CompressSpec) (_ Image, err error) {
	options := Qcow2Options{Compression: spec.Compression}
	if err := options.check(); err != nil {
		return Image{}, err
	}
	row, err := m.row(ctx, spec.Path)
	if err != nil {
		return Image{}, err
	}
	c, err := m.toWrite(ctx, row.Path, FormatQcow2)
	if err != nil {
		return Image{}, err
	}
	defer c.release()
	top := c.layers[0]
	if top.head.snapshots > 0 {
		return Image{}, (&ImageError{Kind: errors.ErrStorage, Msg: "has internal snapshots, which would be lost",
			Fix: "delete them first"}).at([]string{top.Path})
	}
	// Until the new image is in its place nobody may write to the old one.
	still, err := reading(top.Path)
	if err != nil {
		return Image{}, err
	}
	defer still.Release()
	p, err := m.beginProduction(ctx, row.Path)
	if err != nil {
		return Image{}, err
	}
	defer p.close()
	purpose := For{Owner: row.Owner, Disk: row.Disk, Kind: row.Kind}
	options.ClusterSize, options.LazyRefcounts = top.head.clusters, top.head.lazy
	img := Image{}
	err = p.fill(ctx, purpose, top.Image, func(file *os.File) error {
		return m.recompress(ctx, top, file, options, newMeter(spec.Progress, top.Size))
	})
	if err == nil {
		img, err = p.look(FormatQcow2)
	}
	if err == nil {
		err = p.replace(ctx)
	}
	if err != nil {
		return Image{}, errors.Join(err, p.abandon(ctx))
	}
	m.log.DebugContext(ctx, "image compressed", "path", img.Path, "was", top.Allocated, "is", img.Allocated)
	return img, nil
}

// recompress writes one layer to a file, compressed.
func (m *Manager) recompress(ctx context.Context, from layer, to *os.File, options Qcow2Options, progress meter) error {
	args := []string{"-f", FormatQcow2, "-O", FormatQcow2, "-c"}
	if from.head.bitmaps {
		args = append(args, "--bitmaps", "--skip-broken-bitmaps")
	}
	if from.Base != "" {
		args = append(args, "-B", baseName(from.Base), "-F", from.BaseFormat)
	}
	args = append(args, options.args()...)
	return m.work(ctx, progress, "convert", append(args, "--", from.Path, to.Name())...)
}
