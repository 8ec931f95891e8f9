package storage

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/errors"
)

// ImageInfo is an image with all that QEMU says about it (QEMU, qapi/block-core.json,
// ImageInfo and ImageInfoSpecificQCow2). What is of qcow2 is zero for other formats.
type ImageInfo struct {
	Image
	// Dirty is true for an image that was not closed well; QEMU repairs it when it writes to it.
	Dirty bool `json:"dirty,omitempty"`
	// Corrupt is true for one that QEMU has found to be damaged, and does not write to.
	Corrupt bool `json:"corrupt,omitempty"`
	// Compat is the version of qcow2, as QEMU's option: "0.10" for 2 and "1.1" for 3.
	Compat        string `json:"compat,omitempty"`
	ClusterSize   int64  `json:"cluster_size,omitempty"` // bytes
	LazyRefcounts bool   `json:"lazy_refcounts,omitempty"`
	Compression   string `json:"compression,omitempty"` // CompressionZlib or CompressionZstd
	RefcountBits  int    `json:"refcount_bits,omitempty"`
	ExtendedL2    bool   `json:"extended_l2,omitempty"` // it allocates parts of clusters
	// Bitmaps are its dirty bitmaps. A guest that uses the image has the current ones.
	Bitmaps []BitmapInfo `json:"bitmaps,omitempty"`
	// Snapshots are its internal snapshots, in the order in which they were made.
	Snapshots []Snapshot `json:"snapshots,omitempty"`
}

// BitmapInfo is a dirty bitmap that is stored in a qcow2 image.
type BitmapInfo struct {
	Name        string `json:"name"`
	Granularity int64  `json:"granularity"` // bytes that one bit stands for
	// Recording is true for one that goes on as soon as the image is opened.
	Recording bool `json:"recording,omitempty"`
	// Broken is true for one whose user died, or has not ended yet: it can only be removed.
	Broken bool `json:"broken,omitempty"`
}

// Info returns an image and all those below it, the topmost first, with what QEMU says about
// each. Their formats are checked before, as by [Manager.Inspect], which is quicker, and whose
// errors these are. An image may be in use: what changes while it is read is not seen, or is
// an error.
func (m *Manager) Info(ctx context.Context, path, format string) ([]ImageInfo, error) {
	chain, err := m.info(ctx, path, format)
	return chain, storageError("look at image "+quote(path), err)
}

func (m *Manager) info(ctx context.Context, path, format string) ([]ImageInfo, error) {
	layers, err := walk(ctx, path, format)
	if err != nil {
		return nil, err
	}
	// -U: guests may use it.
	out, err := m.runner.Run(ctx, "info", "-U", "--backing-chain", "--output=json", "-f", format, "--", layers[0].Path)
	if err != nil {
		return nil, err
	}
	var said []infoJSON
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, err
	}
	if len(said) != len(layers) {
		return nil, errors.New("it was put on another base meanwhile")
	}
	chain := make([]ImageInfo, len(layers))
	for i, s := range said {
		l := layers[i]
		if s.Format != l.Format {
			return nil, &FormatError{Path: l.Path, Stated: l.Format, Found: s.Format}
		}
		chain[i] = s.info(l.Image)
		if l.Format != FormatQcow2 {
			continue
		}
		if chain[i].Snapshots, err = snapshots(ctx, l.Path); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// infoJSON is how qemu-img describes an image.
type infoJSON struct {
	Format      string `json:"format"`
	Size        int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size"`
	Dirty       bool   `json:"dirty-flag"`
	Specific    struct {
		Data struct {
			Compat        string `json:"compat"`
			Compression   string `json:"compression-type"`
			LazyRefcounts bool   `json:"lazy-refcounts"`
			RefcountBits  int    `json:"refcount-bits"`
			Corrupt       bool   `json:"corrupt"`
			ExtendedL2    bool   `json:"extended-l2"`
			Bitmaps       []struct {
				Name        string   `json:"name"`
				Granularity int64    `json:"granularity"`
				Flags       []string `json:"flags"`
			} `json:"bitmaps"`
		} `json:"data"`
	} `json:"format-specific"`
}

func (s infoJSON) info(img Image) ImageInfo {
	img.Size = s.Size
	out := ImageInfo{Image: img, Dirty: s.Dirty}
	if img.Format != FormatQcow2 { // "file" has specifics, too
		return out
	}
	d := s.Specific.Data
	out.Corrupt, out.Compat, out.ClusterSize, out.LazyRefcounts = d.Corrupt, d.Compat, s.ClusterSize, d.LazyRefcounts
	out.Compression, out.RefcountBits, out.ExtendedL2 = d.Compression, d.RefcountBits, d.ExtendedL2
	for _, b := range d.Bitmaps {
		info := BitmapInfo{Name: b.Name, Granularity: b.Granularity}
		for _, flag := range b.Flags {
			info.Recording = info.Recording || flag == "auto"
			info.Broken = info.Broken || flag == "in-use"
		}
		out.Bitmaps = append(out.Bitmaps, info)
	}
	return out
}
