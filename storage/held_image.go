package storage

import "context"

// heldImage is a qcow2 image that qemu-img is about to write: nobody else uses it.
type heldImage struct {
	*claim
	m   *Manager
	key Secret
}

// hold claims a qcow2 image for a qemu-img that writes it, but not the data in it, which others
// may stand on. What it returns is to be released.
func (m *Manager) hold(ctx context.Context, path string, keys []Secret) (*heldImage, error) {
	layers, err := usableLayers(ctx, path, FormatQcow2, true, len(keys) > 0)
	if err != nil {
		return nil, err
	}
	lock, err := excluded(layers[0].Path)
	if err != nil {
		return nil, err
	}
	h := &heldImage{m: m, claim: &claim{layers: layers, hold: lock}}
	if len(keys) > 0 {
		h.key = keys[0]
	}
	return h, nil
}

func (h *heldImage) path() string { return h.layers[0].Path }

// run runs a subcommand of qemu-img on the image. Arguments that follow the image come last.
func (h *heldImage) run(ctx context.Context, args []string, last ...string) error {
	return h.runOn(ctx, imageOptions(h.layers), args, last...)
}

func (h *heldImage) runOn(ctx context.Context, image string, args []string, last ...string) error {
	args = append(args[:len(args):len(args)], "--image-opts", "--", image)
	_, err := h.m.runKeyed(ctx, h.key, append(args, last...)...)
	return err
}
