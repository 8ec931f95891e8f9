package qmp

import (
	"context"
	"image"
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
// [Manager.Screenshot]. match is called by one goroutine at a time; nil matches any screen.
func (m *Manager) WaitScreen(ctx context.Context, ref string, match func(image.Image) bool) (image.Image, error) {
	return m.WaitScreenOf(ctx, ref, ScreenshotOptions{}, match)
}

// WaitScreenOf is [Manager.WaitScreen] for any screen.
func (m *Manager) WaitScreenOf(ctx context.Context, ref string, o ScreenshotOptions, match func(image.Image) bool) (image.Image, error) {
	var last image.Image
	for {
		shot, err := m.ScreenshotOf(ctx, ref, o)
		if err == nil {
			if last = shot; match == nil || match(shot) {
				return shot, nil
			}
			err = sleep(ctx, screenInterval)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return last, errors.Wrap(errors.ErrWaitTimeout, "wait for the screen", m.label(ref), ctx.Err())
		default:
			return last, err
		}
	}
}

// ScreenChanged returns a match for [Manager.WaitScreen]: at least so many pixels differ
// from those of from, or the size does. The blinking cursor of a text console is some 20
// pixels, a character about as many, a line of text hundreds.
func ScreenChanged(from image.Image, pixels int) func(image.Image) bool {
	return func(now image.Image) bool {
		return now.Bounds() != from.Bounds() || differing(now, from) >= pixels
	}
}

// differing counts the pixels in which two pictures of one size differ.
func differing(a, b image.Image) (n int) {
	fastA, okA := a.(*image.RGBA)
	fastB, okB := b.(*image.RGBA)
	if okA && okB && fastA.Stride == fastB.Stride && len(fastA.Pix) == len(fastB.Pix) && fastA.Stride == 4*fastA.Rect.Dx() {
		// Two screenshots: without interface calls for each pixel.
		for i := 0; i+4 <= len(fastA.Pix); i += 4 {
			if [4]byte(fastA.Pix[i:]) != [4]byte(fastB.Pix[i:]) {
				n++
			}
		}
		return n
	}
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			r1, g1, b1, a1 := a.At(x, y).RGBA()
			r2, g2, b2, a2 := b.At(x, y).RGBA()
			if r1 != r2 || g1 != g2 || b1 != b2 || a1 != a2 {
				n++
			}
		}
	}
	return n
}
