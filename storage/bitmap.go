package storage

import (
	"context"
	"encoding/json"
)

// Bitmaps returns the names of the dirty bitmaps that a qcow2 image keeps: what backups know
// of changes. An image that a guest uses does not keep them meanwhile.
//
// Errors are those of [Manager.Inspect].
func (m *Manager) Bitmaps(ctx context.Context, path string) ([]string, error) {
	names, err := m.bitmaps(ctx, path)
	return names, failed("list bitmaps of image "+quote(path), err)
}

func (m *Manager) bitmaps(ctx context.Context, path string) ([]string, error) {
	layers, err := walk(ctx, path, FormatQcow2)
	if err != nil {
		return nil, err
	}
	if !layers[0].head.bitmaps {
		return nil, nil
	}
	// This needs no key, and does not open what is below.
	out, err := m.runner.Run(ctx, "info", "-U", "--output=json", "--image-opts", "--", describeImage("", layers[0]))
	if err != nil {
		return nil, err
	}
	var info struct {
		Specific struct {
			Data struct {
				Bitmaps []struct {
					Name string `json:"name"`
				} `json:"bitmaps"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, err
	}
	var names []string
	for _, b := range info.Specific.Data.Bitmaps {
		names = append(names, b.Name)
	}
	return names, nil
}

// RemoveBitmap removes a dirty bitmap from a qcow2 image that nobody uses: the next backup
// that would go by it has to be a full one. errors.ErrImageInUse with its holder; else as for
// [Manager.Usable].
func (m *Manager) RemoveBitmap(ctx context.Context, path, name string, keys ...Secret) error {
	h, err := m.hold(ctx, path, keys)
	if err == nil {
		defer h.release()
		err = h.run(ctx, []string{"bitmap", "--remove"}, name)
	}
	return failed("remove bitmap "+quote(name)+" of image "+quote(path), err)
}
