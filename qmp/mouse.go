package qmp

import (
	"context"
	"fmt"
	"image"
	"time"

	"github.com/maqet/maqet/errors"
)

// Button is a button of a mouse (QEMU QMP Reference Manual, "InputButton").
type Button string

// The buttons. Side is at the front of a mouse's side, Extra at the rear.
const (
	ButtonLeft   Button = "left"
	ButtonMiddle Button = "middle"
	ButtonRight  Button = "right"
	ButtonSide   Button = "side"
	ButtonExtra  Button = "extra"
)

// Buttons that are the wheel; [Mouse.Scroll] presses them.
const (
	wheelUp    Button = "wheel-up"
	wheelDown  Button = "wheel-down"
	wheelLeft  Button = "wheel-left"
	wheelRight Button = "wheel-right"
)

// axisMax is the far end of an absolute axis, whatever the screen's size (QEMU,
// include/ui/input.h, INPUT_EVENT_ABS_MAX).
const axisMax = 0x7fff

// MouseOptions change how a [Mouse] works. The zero value works.
type MouseOptions struct {
	// Screen is what points are relative to: the bounds of a screenshot. Empty: those of
	// the present screen, which each Move and Drag then asks for with a screenshot.
	Screen image.Rectangle
	// Gap is the pause after each event. 0: 8 ms. Negative: none.
	Gap time.Duration
	// Display and Head choose a screen and the mouse that belongs to it, as in
	// [KeyboardOptions]. Empty: the first screen, and the mouse that belongs to none.
	Display string
	Head    int
}

// Mouse works the pointer of one VM. It holds no resources. It is safe for concurrent
// use, but what two calls do at once is mixed.
//
// Positions are pixels of a screenshot, so they need a pointing device with absolute
// coordinates that the guest's driver has taken into use: vm.Config.Tablet, a USB one, or
// the device virtio-tablet-pci. Where there is none, Move and Drag are errors.ErrQMPUnsupported; buttons
// and the wheel work with any mouse. Other errors, and what happens when ctx ends, are
// as for [Keyboard].
type Mouse struct {
	m    *Manager
	ref  string
	opts MouseOptions
}

// Mouse returns the mouse of the VM called ref.
func (m *Manager) Mouse(ref string, opts MouseOptions) Mouse {
	if opts.Gap == 0 {
		opts.Gap = defaultGap
	}
	return Mouse{m, ref, opts}
}

// Move puts the pointer on the pixel p of the screen. One outside of the screen is an
// *errors.ConfigError.
func (u Mouse) Move(ctx context.Context, p image.Point) error {
	screen, err := u.ready(ctx, p)
	if err != nil {
		return err
	}
	return u.input().send(ctx, moveTo(p, screen))
}

// Click presses and releases a button where the pointer is.
func (u Mouse) Click(ctx context.Context, b Button) error { return u.clicks(ctx, b, 1) }

// DoubleClick is two clicks, fast enough to count as one.
func (u Mouse) DoubleClick(ctx context.Context, b Button) error { return u.clicks(ctx, b, 2) }

// Drag presses a button at one pixel, moves the pointer to another one and releases the
// button there. It goes by way of the middle, so that programs see a movement.
func (u Mouse) Drag(ctx context.Context, b Button, from, to image.Point) error {
	if err := u.validate(b); err != nil {
		return err
	}
	screen, err := u.ready(ctx, from, to)
	if err != nil {
		return err
	}
	in := u.input()
	if err := in.send(ctx, moveTo(from, screen)); err != nil {
		return err
	}
	err = in.send(ctx, []inputEvent{button(b, true)})
	for _, p := range []image.Point{from.Add(to).Div(2), to} {
		if err == nil {
			err = in.send(ctx, moveTo(p, screen))
		}
	}
	release := []inputEvent{button(b, false)}
	if err == nil {
		err = in.send(ctx, release)
	}
	if err != nil {
		return in.release(ctx, release, err)
	}
	return nil
}

// Scroll turns the wheel by steps: right of it for positive x, down for positive y.
func (u Mouse) Scroll(ctx context.Context, x, y int) error {
	if err := u.m.requireRunning(ctx, u.ref); err != nil {
		return err
	}
	horizontal, vertical := wheelRight, wheelDown
	if x < 0 {
		horizontal, x = wheelLeft, -x
	}
	if y < 0 {
		vertical, y = wheelUp, -y
	}
	if err := u.turn(ctx, vertical, y); err != nil {
		return err
	}
	return u.turn(ctx, horizontal, x)
}

func (u Mouse) clicks(ctx context.Context, b Button, times int) error {
	if err := u.validate(b); err != nil {
		return err
	}
	if err := u.m.requireRunning(ctx, u.ref); err != nil {
		return err
	}
	in, release := u.input(), []inputEvent{button(b, false)}
	for range times {
		// Apart: a USB tablet has one state for each command, the last.
		err := in.send(ctx, []inputEvent{button(b, true)})
		if err == nil {
			err = in.send(ctx, release)
		}
		if err != nil {
			return in.release(ctx, release, err)
		}
	}
	return nil
}

// turn turns the wheel, which is a button that is pressed and released. Both are in one
// command, so that it can't stay down.
func (u Mouse) turn(ctx context.Context, b Button, times int) error {
	for range times {
		if err := u.input().send(ctx, []inputEvent{button(b, true), button(b, false)}); err != nil {
			return err
		}
	}
	return nil
}

func (u Mouse) validate(b Button) error {
	switch b {
	case ButtonLeft, ButtonMiddle, ButtonRight, ButtonSide, ButtonExtra:
		return nil
	}
	return &errors.ConfigError{VM: u.m.label(u.ref), Problems: []errors.Problem{{
		Field: "button", Value: string(b), Message: "is no button", Fix: "use one of the qmp.Button constants",
	}}}
}

// ready checks that the pointer can be put on the points, and returns the screen.
func (u Mouse) ready(ctx context.Context, points ...image.Point) (image.Rectangle, error) {
	screen := u.opts.Screen
	if err := u.m.requireRunning(ctx, u.ref); err != nil {
		return screen, err
	}
	if screen.Empty() {
		shot, err := u.m.ScreenshotOf(ctx, u.ref, ScreenshotOptions{Device: u.opts.Display, Head: u.opts.Head})
		if err != nil {
			return screen, err
		}
		screen = shot.Bounds()
	}
	var problems []errors.Problem
	for _, p := range points {
		if !p.In(screen) {
			problems = append(problems, errors.Problem{
				Field: "point", Value: p.String(), Message: fmt.Sprintf("is not on the screen %v", screen),
				Fix: "give a pixel of a screenshot",
			})
		}
	}
	if len(problems) > 0 {
		return screen, &errors.ConfigError{VM: u.m.label(u.ref), Problems: problems}
	}
	return screen, u.requireAbsolute(ctx)
}

// requireAbsolute checks that QEMU has a device for absolute coordinates: it would take
// them without one, and drop them.
func (u Mouse) requireAbsolute(ctx context.Context) error {
	mice, err := Call[[]struct {
		Absolute bool `json:"absolute"`
		Current  bool `json:"current"`
	}](ctx, u.m, u.ref, "query-mice", nil)
	if err != nil {
		return err
	}
	for _, mouse := range mice {
		if mouse.Absolute && (mouse.Current || u.opts.Display != "") {
			return nil
		}
	}
	return &errors.Error{
		Kind: errors.ErrQMPUnsupported, Op: "move the mouse", VM: u.m.label(u.ref),
		Msg:  "no pointing device with absolute coordinates is in use",
		Hint: `set vm.Config.Tablet, or add the device "virtio-tablet-pci", and wait until the guest has its driver`,
	}
}

func (u Mouse) input() input {
	return input{m: u.m, ref: u.ref, gap: u.opts.Gap, display: u.opts.Display, head: u.opts.Head}
}

func button(b Button, down bool) inputEvent {
	return inputEvent{"btn", inputData{Down: &down, Button: b}}
}

// moveTo returns both coordinates, in one command: the guest sees them together.
func moveTo(p image.Point, screen image.Rectangle) []inputEvent {
	x, y := axis(p.X-screen.Min.X, screen.Dx()), axis(p.Y-screen.Min.Y, screen.Dy())
	return []inputEvent{{"abs", inputData{Axis: "x", Value: &x}}, {"abs", inputData{Axis: "y", Value: &y}}}
}

// axis returns where on QEMU's axis the middle of a pixel is: from there a guest comes
// to the same pixel, whether it rounds or cuts off.
func axis(pixel, size int) int { return (2*pixel + 1) * axisMax / (2 * size) }
