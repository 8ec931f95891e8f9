package storage

import (
	"context"
	"encoding/json"
)

// Extent is a part of an image that is stored in one way (QEMU, qapi/block-core.json, MapEntry).
type Extent struct {
	Start  int64 `json:"start"` // where it begins for the guest, in bytes
	Length int64 `json:"length"`
	// Depth is whose it is: 0 the image's own, 1 its base's, and so on.
	Depth int `json:"depth"`
	// Present is false where neither the image nor one below it holds anything, and zeros are read.
	Present bool `json:"present"`
	Zero    bool `json:"zero"` // it reads as zeros
	Data    bool `json:"data"` // it takes space in the file
	// Offset is where it begins in the file of that layer; nil where it has no such place, for
	// instance because it is compressed.
	Offset *int64 `json:"offset,omitempty"`
}

// Map returns how an image that nobody writes is stored, by extents that follow each other
// without a gap from its beginning to its end. errors.ErrImageInUse says who writes it, or
// one below it; else errors are those of [Manager.Inspect].
func (m *Manager) Map(ctx context.Context, path, format string) ([]Extent, error) {
	var extents []Extent
	err := m.query(ctx, &extents, path, format, "map")
	return extents, storageError("map image "+quote(path), err)
}

// query has qemu-img read an image that nobody writes, and parses what it says.
func (m *Manager) query(ctx context.Context, into any, path, format, command string, args ...string) error {
	layers, err := usableLayers(ctx, path, format, false, false)
	if err != nil {
		return err
	}
	args = append([]string{command, "--output=json", "-f", format}, args...)
	out, err := m.runner.Run(ctx, append(args, "--", layers[0].Path)...)
	if err != nil {
		return blame(layers[0], false, err)
	}
	return json.Unmarshal(out, into)
}
