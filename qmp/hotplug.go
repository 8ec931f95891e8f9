package qmp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
)

// Recorder is told what was plugged and unplugged, so that a VM that is started again
// has the same devices. vm.Manager implements it. ref is as the caller gave it. Its
// methods are idempotent.
type Recorder interface {
	// DeviceAdded records d, with its place, instead of any other with that ID.
	DeviceAdded(ctx context.Context, ref string, d Device) error
	// DeviceRemoved records that the guest has no such device any more.
	DeviceRemoved(ctx context.Context, ref, id string) error
	// ForgetDevice makes the next start of a VM that is not live come without the
	// device. It reports whether a start would have come with it. For a VM that is live
	// it changes nothing, and fails.
	ForgetDevice(ctx context.Context, ref, id string) (known bool, err error)
}

// WithRecorder sets who records what is plugged. Default: nobody.
func WithRecorder(r Recorder) ManagerOption { return func(m *Manager) { m.hotplug.recorder = r } }

// UnplugTimeout bounds how long RemoveDevice waits for the guest, beside its context:
// the shorter one wins. Default: 30 s.
func UnplugTimeout(d time.Duration) ManagerOption {
	return func(m *Manager) { m.hotplug.timeout = d }
}

// WithReserved sets which IDs are not for [Manager.AddDevice] and [Manager.RemoveDevice]:
// those of the devices and channels by which a backend itself reaches its guests. Default:
// none.
func WithReserved(reserved func(id string) bool) ManagerOption {
	return func(m *Manager) { m.hotplug.reserved = reserved }
}

// hotplugOptions are a Manager's.
type hotplugOptions struct {
	reserved func(id string) bool // nil: none
	recorder Recorder
	timeout  time.Duration // 0: defaultUnplug
}

const (
	defaultUnplug = 30 * time.Second
	// placeTries is how often a free place may be refused.
	placeTries = 3
	// mendTime bounds what has to be done though the caller's context may have ended:
	// QEMU answers within milliseconds, if at all.
	mendTime = 5 * time.Second
)

// plug is work on the devices of one VM.
type plug struct {
	m   *Manager
	ref string
}

// vm is how errors call the VM.
func (p plug) vm() string { return p.m.label(p.ref) }

// AddDevice plugs d into the VM called ref: it makes the backends, the device on a free
// place, and records both. The guest's system finds the device by itself, shortly
// after. The commands for it run as [Privileged] ones: they are made of parts that were
// checked.
//
// If anything fails, what was made is taken back. When ctx ends half-way that is so,
// too, except that a device that QEMU is just making stays: then the error is nil. A
// device that was plugged and could not be recorded stays plugged, and the recorder's
// error is returned.
//
// Errors: *errors.ConfigError for what is wrong with d (see [Device.Validate]), and for
// an ID that the VM has already; errors.ErrQMPUnsupported when the VM has no place for
// it, with the field of vm.Config that makes one; *errors.QMPError when QEMU refuses;
// and those of [Manager.Execute].
func (m *Manager) AddDevice(ctx context.Context, ref string, d Device) error {
	if err := d.check(m.label(ref)); err != nil {
		return err
	}
	if err := m.free(ref, d); err != nil {
		return err
	}
	p := plug{m, ref}
	added, err := p.add(ctx, d.Clone())
	if err != nil {
		return p.explain(d, err)
	}
	if m.hotplug.recorder == nil {
		return nil
	}
	ctx, cancel := mending(ctx)
	defer cancel()
	if err := m.hotplug.recorder.DeviceAdded(ctx, ref, added); err != nil {
		return &errors.Error{Kind: errors.ErrState, Op: "record device " + d.ID + " of VM", VM: m.label(ref),
			Msg: "it is plugged, but a restart will come without it", Err: err}
	}
	return nil
}

// mending returns a context for what has to be done also when ctx has ended.
func mending(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), mendTime)
}

// add makes the device, and returns it with its driver and place.
func (p plug) add(ctx context.Context, d Device) (Device, error) {
	there, err := p.exists(ctx, peripheral+d.ID)
	if err != nil {
		return d, err
	}
	if there {
		return d, &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: p.vm(), Problems: []errors.Problem{{
			Field: "device.id", Value: d.ID, Message: "is the ID of a device that the VM has", Fix: "use another, or RemoveDevice first"}}}
	}
	if d.NIC != nil && d.NIC.MAC == "" {
		d.NIC.MAC = fmt.Sprintf("52:54:00:%02x:%02x:%02x", rand.N(256), rand.N(256), rand.N(256))
	}
	places, err := p.candidates(ctx, d)
	if err != nil {
		return d, err
	}
	parts := d.Parts()
	made, err := p.buildAll(ctx, parts[:len(parts)-1])
	if err == nil {
		d, err = p.place(ctx, d, places)
	}
	if err != nil {
		return d, errors.Join(err, p.undo(ctx, made))
	}
	return d, nil
}

// buildAll makes backends. It returns those that are made, or may be.
func (p plug) buildAll(ctx context.Context, parts []Part) (made []Part, err error) {
	for _, part := range parts {
		err := p.build(ctx, part)
		if err == nil || !errors.Is(err, errors.ErrQMPCommand) && !errors.Is(err, errors.ErrQMPDenied) {
			made = append(made, part) // an answer that did not come may be a good one
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func (p plug) build(ctx context.Context, part Part) error {
	if err := ctx.Err(); err != nil {
		return errors.Wrap(errors.ErrQMPTimeout, "plug device into VM", p.vm(), context.Cause(ctx))
	}
	return p.change(ctx, makers[part.Option], part.Args)
}

// change executes a command that changes the VM's devices.
func (p plug) change(ctx context.Context, command string, args any) error {
	_, err := p.m.executeAs(ctx, p.ref, Privileged, command, args)
	return err
}

// place makes the device on the first of the places, or when somebody else was quicker,
// on the next that is free. A place that looks free after all may have been taken for a
// moment only, so it is tried again before QEMU's refusal is believed.
func (p plug) place(ctx context.Context, d Device, places []candidate) (Device, error) {
	for refusals := 1; ; {
		chosen := places[0]
		err := p.plugInto(ctx, chosen.device)
		if err == nil {
			d = chosen.device
			d.Driver = d.driver()
			return d, nil
		}
		if !errors.Is(err, errors.ErrQMPCommand) || ctx.Err() != nil {
			return d, err
		}
		again, lookErr := p.candidates(ctx, d)
		if lookErr != nil {
			return d, errors.Join(lookErr, err)
		}
		if slices.ContainsFunc(again, func(c candidate) bool { return c.place == chosen.place }) {
			if refusals == placeTries {
				return d, err // it is free all the same: QEMU has another reason
			}
			refusals++
		}
		places = again
	}
}

// plugInto is the point of no return: a device that QEMU has begun to make is made. To
// take it back would need the guest.
func (p plug) plugInto(ctx context.Context, d Device) error {
	parts := d.Parts()
	if err := ctx.Err(); err != nil {
		return errors.Wrap(errors.ErrQMPTimeout, "plug device into VM", p.vm(), context.Cause(ctx))
	}
	ctx, cancel := mending(ctx)
	defer cancel()
	return p.change(ctx, "device_add", parts[len(parts)-1].Args)
}

// undo takes back what was made, in reverse.
func (p plug) undo(ctx context.Context, made []Part) error {
	ctx, cancel := mending(ctx)
	defer cancel()
	var errs []error
	for _, part := range slices.Backward(made) {
		_, err := p.drop(ctx, part.Option, part.name())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p plug) unsupported(d Device, msg, hint string) error {
	return &errors.Error{Kind: errors.ErrQMPUnsupported, Op: "plug device " + d.ID + " into VM", VM: p.vm(), Msg: msg, Hint: hint}
}
