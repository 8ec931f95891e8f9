package storage

import "context"

// Chain returns the image at path and those below it, the topmost first. It looks at them as
// [Manager.Inspect] does, with the same errors; unlike [Manager.Usable] it does not mind who uses
// them.
func (m *Manager) Chain(ctx context.Context, path, format string) ([]Image, error) {
	layers, err := walk(ctx, path, format)
	if err != nil {
		return nil, err
	}
	images := make([]Image, len(layers))
	for i, l := range layers {
		images[i] = l.Image
	}
	return images, nil
}
