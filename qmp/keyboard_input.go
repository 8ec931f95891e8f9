package qmp

import (
	"context"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
)

// maxEvents is how many events go into one command: half of what a PS/2 keyboard's
// queue of 16 bytes holds, because the keys of the block between letters and digits
// need two bytes for each event.
const maxEvents = 8

// releaseTime bounds how long a call that was cancelled goes on to release its keys.
const releaseTime = 80 * time.Millisecond

// inputEvent is one of QEMU's InputEvents (QEMU QMP Reference Manual, "InputEvent").
type inputEvent struct {
	Type string    `json:"type"` // "key", "btn", "abs"
	Data inputData `json:"data"`
}

// inputData has the members of the event's type only: QEMU refuses others.
type inputData struct {
	Down   *bool     `json:"down,omitempty"`
	Key    *keyValue `json:"key,omitempty"`
	Button Button    `json:"button,omitempty"`
	Axis   string    `json:"axis,omitempty"`
	Value  *int      `json:"value,omitempty"`
}

type keyValue struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

// sendEvents are the arguments of input-send-event. Without Device QEMU takes what
// belongs to no display.
type sendEvents struct {
	Device string       `json:"device,omitempty"`
	Head   *int         `json:"head,omitempty"`
	Events []inputEvent `json:"events"`
}

// keyEvents presses the keys of a chord in their order, or releases them in the
// reverse one.
func keyEvents(c chord, down bool) []inputEvent {
	events := make([]inputEvent, 0, 2*len(c))
	for _, code := range c {
		events = append(events, inputEvent{"key", inputData{Down: &down, Key: &keyValue{"qcode", code}}})
	}
	if !down {
		slices.Reverse(events)
	}
	return events
}

// input sends events to one VM, paced.
type input struct {
	m       *Manager
	ref     string
	gap     time.Duration // after each event
	display string
	head    int
}

// send sends events in as many commands as it takes, and pauses after each for all of
// its events. The pauses begin when QEMU has answered, so that a QEMU that is slow gets
// no burst afterwards.
func (in input) send(ctx context.Context, events []inputEvent) error {
	for part := range slices.Chunk(events, maxEvents) {
		args := sendEvents{Device: in.display, Events: part}
		if in.display != "" {
			args.Head = &in.head
		}
		if _, err := in.m.Execute(ctx, in.ref, "input-send-event", args); err != nil {
			return err
		}
		if err := sleep(ctx, time.Duration(len(part))*in.gap); err != nil {
			return errors.Wrap(errors.ErrQMPTimeout, "send input", in.m.label(in.ref), err)
		}
	}
	return nil
}

// release releases what is down after a failure, err, also when ctx has ended. It does
// not pause: the call is over.
func (in input) release(ctx context.Context, up []inputEvent, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	in.gap = 0
	if failed := in.send(ctx, up); failed != nil && !errors.Is(failed, errors.ErrQMPConnection) {
		return errors.Join(err, errors.Wrap(errors.ErrQMP, "release keys", in.m.label(in.ref), failed))
	}
	return err
}

// sleep returns after d, or with ctx's error when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// requireRunning returns errors.ErrVMNotRunning where QEMU would drop input without a
// word: it does so unless the virtual CPUs run, or sleep and can be woken up.
func (m *Manager) requireRunning(ctx context.Context, ref string) error {
	status, err := m.Status(ctx, ref)
	if err != nil || status.Running || status.Status == "suspended" {
		return err
	}
	return &errors.Error{
		Kind: errors.ErrVMNotRunning, Op: "send input", VM: m.label(ref),
		Msg: "it is " + status.Status + ", so QEMU would drop the input", Hint: "resume it first",
	}
}
