package qmp

import (
	"context"
	"slices"
	"time"
)

// defaultGap is the pause after each press and each release.
//
// QEMU does not pace input-send-event, and drops without a word what a PS/2 keyboard's
// queue of 16 bytes can't take; most keys need one byte for each press and release. So
// the pause decides for how long a guest's virtual CPU may stand still before keys are
// lost: here for 128 ms. Measured with capital letters (four events each) in an emulated
// guest on two cores: at 2.5 ms keys were lost as soon as four other processes wanted the
// cores, at 5 ms only when eight did and the guest itself was busy, at 8 ms never. QEMU's
// own pause for send-key is 10 ms (ui/input.c); BenchmarkTyping compares the two.
const defaultGap = 8 * time.Millisecond

// KeyboardOptions change how a [Keyboard] types. The zero value works.
type KeyboardOptions struct {
	// Hold is how long each chord stays down. 0: it is released as soon as all its keys
	// are down, which is what systems that read events expect. Firmware and games that
	// look at the keyboard now and then need some 50 ms.
	Hold time.Duration
	// Gap is the pause after each press and each release. 0: 8 ms. Shorter is faster, but a
	// PS/2 keyboard loses keys when the guest's virtual CPU stands still for 16 Gaps, because
	// the host is busy, say. Negative: none.
	Gap time.Duration
	// Layout is the guest's keyboard layout, for Type. nil: [LayoutUS].
	Layout *Layout
	// Display and Head choose the keyboard of one seat where a guest has several: the id
	// of the display device that it belongs to (QEMU, docs/system/multiseat). Empty: the
	// keyboard that belongs to none.
	Display string
	Head    int
}

// Keyboard types on one VM. It holds no resources, and nothing of the VM until it is
// used. It is safe for concurrent use, but the keys of two calls at once are mixed.
//
// All calls check their keys before the first is sent, and then send them as QEMU's
// input-send-event, paced by a timer. Names of keys, in Send, Down and Up, are those of
// [KeyNames], or usual other ones; an unknown one is an *errors.ConfigError that says
// which and what is near. A guest that is paused loses keys, so that is
// errors.ErrVMNotRunning. When ctx ends, a call returns within 100 ms and its keys are
// released. Other errors are as for [Manager.Execute].
type Keyboard struct {
	m    *Manager
	ref  string
	opts KeyboardOptions
}

// Keyboard returns the keyboard of the VM called ref.
func (m *Manager) Keyboard(ref string, opts KeyboardOptions) Keyboard {
	if opts.Gap == 0 {
		opts.Gap = defaultGap
	}
	return Keyboard{m, ref, opts}
}

// SendKeys presses chords of keys on the VM called ref, one after another. A chord is
// names of keys joined by '-', which are pressed in that order and released in the
// reverse one: "ctrl-alt-f2", "ret", "a". The names are QEMU's (see [KeyNames]) or
// usual other ones; the key '-' is called "minus".
//
// Modifiers on their own stay down until the next key that is none has been released:
// SendKeys(ctx, ref, "ctrl", "alt", "delete") is one chord. Those at the end are just
// pressed and released. [Manager.Keyboard] has more to choose; see [Keyboard] for errors.
func (m *Manager) SendKeys(ctx context.Context, ref string, keys ...string) error {
	return m.Keyboard(ref, KeyboardOptions{}).Send(ctx, keys...)
}

// Type types text on the VM called ref, whose guest has the US keyboard layout; see
// [Keyboard.Type] and, for other layouts, [Manager.Keyboard].
func (m *Manager) Type(ctx context.Context, ref, text string) error {
	return m.Keyboard(ref, KeyboardOptions{}).Type(ctx, text)
}

// Send presses chords one after another; see [Manager.SendKeys] for how they are
// written.
func (k Keyboard) Send(ctx context.Context, keys ...string) error {
	chords, err := parseKeys(k.m.label(k.ref), keys)
	if err != nil {
		return err
	}
	return k.play(ctx, chords)
}

// Type types text: each character by the keys that the layout has for it. "\n" is the
// return key and "\t" the tabulator. If the layout lacks a character, nothing is typed
// and the error is an *errors.ConfigError with each such character and its position.
//
// A character takes as many Gaps as it has presses and releases: with the default, two
// hundred small letters take some 3.5 seconds.
func (k Keyboard) Type(ctx context.Context, text string) error {
	layout := LayoutUS()
	if k.opts.Layout != nil {
		layout = *k.opts.Layout
	}
	chords, err := layout.chords(k.m.label(k.ref), text)
	if err != nil {
		return err
	}
	return k.play(ctx, chords)
}

// Down presses keys and leaves them down. keys are chords, as for Send. When it fails
// all of them are released.
func (k Keyboard) Down(ctx context.Context, keys ...string) error {
	keysDown, err := k.oneWay(ctx, keys)
	if err != nil {
		return err
	}
	in := k.input()
	if err := in.send(ctx, keyEvents(keysDown, true)); err != nil {
		return in.release(ctx, keyEvents(keysDown, false), err)
	}
	return nil
}

// Up releases keys that are down, in the reverse order. A key that is not down stays as
// it is.
func (k Keyboard) Up(ctx context.Context, keys ...string) error {
	keysDown, err := k.oneWay(ctx, keys)
	if err != nil {
		return err
	}
	return k.input().send(ctx, keyEvents(keysDown, false))
}

// oneWay returns all keys of chords, for a guest that runs.
func (k Keyboard) oneWay(ctx context.Context, keys []string) (chord, error) {
	chords, err := parseKeys(k.m.label(k.ref), keys)
	if err != nil {
		return nil, err
	}
	return slices.Concat(chords...), k.m.requireRunning(ctx, k.ref)
}

// play presses and releases the chords in turn.
func (k Keyboard) play(ctx context.Context, chords []chord) error {
	if err := k.m.requireRunning(ctx, k.ref); err != nil {
		return err
	}
	for _, c := range chords {
		if err := k.press(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// press presses and releases one chord.
func (k Keyboard) press(ctx context.Context, c chord) error {
	in, down, up := k.input(), keyEvents(c, true), keyEvents(c, false)
	if k.opts.Hold <= 0 && len(down)+len(up) <= maxEvents {
		// One command, which QEMU executes wholly or not at all: no key can stay down.
		return in.send(ctx, append(down, up...))
	}
	err := in.send(ctx, down)
	if err == nil {
		err = sleep(ctx, k.opts.Hold)
	}
	if err == nil {
		err = in.send(ctx, up)
	}
	if err != nil {
		return in.release(ctx, up, err)
	}
	return nil
}

func (k Keyboard) input() input {
	return input{m: k.m, ref: k.ref, gap: k.opts.Gap, display: k.opts.Display, head: k.opts.Head}
}
