package qmp

import (
	"context"
	"image"
	"image/color"
	"time"

	"github.com/maqet/maqet/errors"
)

// screenInterval is how often a wait looks at the screen. A look keeps QEMU busy for
// some 5 ms.
const screenInterval = 100 * time.Millisecond

// WaitScreen returns the first screenshot of the VM called ref for which match is true.
// QEMU has no event for a screen that changes, so it looks again every 100 ms. When ctx
// ends first the error is errors.ErrWaitTimeout, and ctx's, and the last screenshot is
// returned, if there was one: nil otherwise. Other errors are as for
// [Manager.Screenshot]. match is called by one goroutine at a time.
func (m *Manager) WaitScreen(ctx context.Context, ref string, match func(image.Image) bool) (image.Image, error) {
	return m.WaitScreenOf(ctx, ref, ScreenshotOptions{}, match)
}

// WaitScreenOf is [Manager.WaitScreen] for any screen.
func (m *Manager) WaitScreenOf(ctx context.Context, ref string, o ScreenshotOptions, match func(image.Image) bool) (image.Image, error) {
	var last image.Image
	for {
		shot, err := m.ScreenshotOf(ctx, ref, o)
		if err == nil {
			if last = shot; match(shot) {
				return shot, nil
			}
			err = sleep(ctx, screenInterval)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return last, errors.Wrap(errors.ErrWaitTimeout, "wait for the screen", ref, ctx.Err())
		default:
			return last, err
		}
	}
}

// ScreenChanged returns a match for [Manager.WaitScreen]: at least so many pixels differ
// from those of from, or the size does. The cursor of a text console blinks, which is
// some 20 pixels; a character changes about as many, a line of text hundreds.
func ScreenChanged(from image.Image, pixels int) func(image.Image) bool {
	return func(now image.Image) bool {
		if now.Bounds() != from.Bounds() {
			return true
		}
		changed := 0
		for y := now.Bounds().Min.Y; y < now.Bounds().Max.Y; y++ {
			for x := now.Bounds().Min.X; x < now.Bounds().Max.X; x++ {
				if !sameColor(now.At(x, y), from.At(x, y)) {
					changed++
				}
			}
		}
		return changed >= pixels
	}
}

func sameColor(a, b color.Color) bool {
	r, g, bl, al := a.RGBA()
	r2, g2, bl2, al2 := b.RGBA()
	return r == r2 && g == g2 && bl == bl2 && al == al2
}
