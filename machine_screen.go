package maqet

import (
	"context"
	"image"

	"github.com/maqet/maqet/qmp"
)

// SendKeys presses chords of keys, such as "ctrl-alt-f2"; see qmp.Manager.SendKeys.
func (h *Machine) SendKeys(ctx context.Context, keys ...string) error {
	return h.m.QMP.SendKeys(ctx, h.id, keys...)
}

// Type types text at the guest's keyboard, whose layout is US; see qmp.Manager.Type.
func (h *Machine) Type(ctx context.Context, text string) error {
	return h.m.QMP.Type(ctx, h.id, text)
}

// Keyboard returns the keyboard with other layouts, times and seats.
func (h *Machine) Keyboard(opts qmp.KeyboardOptions) qmp.Keyboard {
	return h.m.QMP.Keyboard(h.id, opts)
}

// Mouse returns the mouse.
func (h *Machine) Mouse(opts qmp.MouseOptions) qmp.Mouse { return h.m.QMP.Mouse(h.id, opts) }

// Screenshot returns what the first screen shows; see qmp.Manager.Screenshot.
func (h *Machine) Screenshot(ctx context.Context) (image.Image, error) {
	return h.m.QMP.Screenshot(ctx, h.id)
}

// ScreenshotPNG returns what the first screen shows as the content of a PNG file.
func (h *Machine) ScreenshotPNG(ctx context.Context) ([]byte, error) {
	return h.m.QMP.ScreenshotPNG(ctx, h.id, qmp.ScreenshotOptions{})
}

// WaitScreen returns the first screenshot for which match is true; see
// qmp.Manager.WaitScreen.
func (h *Machine) WaitScreen(ctx context.Context, match func(image.Image) bool) (image.Image, error) {
	return h.m.QMP.WaitScreen(ctx, h.id, match)
}
