package qmp

import (
	"context"
	"fmt"
	"time"

	"github.com/maqet/maqet/errors"
)

// askAgain is how often the guest is asked to let go: a system that is booting loses
// the first request. QEMU itself refuses one that comes too early after another.
const askAgain = 2 * time.Second

// Events that end an unplug (QEMU QMP Reference Manual, "Device infrastructure").
const (
	eventDeleted    = "DEVICE_DELETED"
	eventRefused    = "DEVICE_UNPLUG_GUEST_ERROR"
	eventMemRefused = "MEM_UNPLUG_ERROR"
)

// RemoveDevice asks the guest of the VM called ref to let go of the device with this ID,
// returns once it has, and removes the device's backends and its record. It also clears
// away what an interrupted AddDevice or RemoveDevice left of the device.
//
// A guest that refuses, or does not let go in time ([UnplugTimeout], or ctx), is
// errors.ErrDeviceBusy with what happened; so is one that is paused, at once. The
// request stands: when the guest lets go later the record follows, and another
// RemoveDevice clears the backends. Calls for one device may overlap. Devices on the
// device's own bus go with it; a RemoveDevice of each clears its backends.
//
// A VM that does not run, with a [Recorder] that knows the device: it is forgotten, so
// that the next start comes without it, be it one of AddDevice or of vm.Config. Nothing
// is known then of devices on its bus: remove those first. If the Recorder does not know
// it, or the VM is just being started or stopped, the error is errors.ErrVMNotRunning.
//
// Other errors: *errors.QMPError of class DeviceNotFound when neither device nor backends
// are there; errors.ErrQMPUnsupported for a device that can't be unplugged, because of
// where it is or because it is a CPU that QEMU emulates; errors.ErrState when it was
// removed but not recorded so; and those of [Manager.Execute].
func (m *Manager) RemoveDevice(ctx context.Context, ref, id string) error {
	if !deviceIDPattern.MatchString(id) {
		return &errors.ConfigError{VM: m.label(ref), Problems: []errors.Problem{{Field: "device.id", Value: id,
			Message: "is not a device's ID", Fix: "give that of AddDevice, or of vm.Config"}}}
	}
	if err := m.mayUse(ref, id); err != nil {
		return err
	}
	r := removal{plug: plug{m, ref}, id: id}
	there, err := r.exists(ctx, peripheral+id)
	if err == nil && there {
		err = r.unplug(ctx)
	}
	if err != nil {
		return r.forget(ctx, err)
	}
	ctx, cancel := mending(ctx)
	defer cancel()
	found, err := r.clear(ctx, id)
	if rec := m.hotplug.recorder; rec != nil {
		if recErr := rec.DeviceRemoved(ctx, ref, id); recErr != nil {
			err = errors.Join(err, &errors.Error{Kind: errors.ErrState, Op: "record the removal of device " + id + " of VM", VM: m.label(ref),
				Msg: "it is gone, but a restart will come with it", Err: recErr})
		}
	}
	if err == nil && !there && !found {
		return &errors.QMPError{VM: m.label(ref), Command: "device_del", Class: "DeviceNotFound", Desc: "Device '" + id + "' not found"}
	}
	return err
}

// removal is one device on its way out.
type removal struct {
	plug
	id string
}

func (r removal) unplug(ctx context.Context) error {
	if err := r.removable(ctx); err != nil {
		return err
	}
	limit := r.m.hotplug.timeout
	if limit <= 0 {
		limit = defaultUnplug
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer in %v", limit))
	defer cancel()
	conn, err := r.m.find.QMP(ctx, r.ref)
	if err != nil {
		return err
	}
	sub := conn.Subscribe(eventDeleted, eventRefused, eventMemRefused)
	defer sub.Close()
	gone, refused, err := r.request(ctx)
	if err != nil || gone {
		return err
	}
	if gone, err = r.halted(ctx); err != nil || gone {
		return err
	}
	return r.await(ctx, conn, sub, refused)
}

// removable says why a device can't be removed however long one waits.
func (r removal) removable(ctx context.Context) error {
	can, err := qom[bool](ctx, r.plug, "qom-get", map[string]any{"path": peripheral + r.id, "property": "hotpluggable"})
	if hasClass(err, "DeviceNotFound") {
		return nil // gone in this moment
	}
	if err != nil {
		return err
	}
	if !can {
		return r.refusal(errors.ErrQMPUnsupported, "it is where nothing can be unplugged", "only devices on hot-plug ports can be: plug it with AddDevice instead of vm.Config", nil)
	}
	slots, err := qom[[]cpuSlot](ctx, r.plug, "query-hotpluggable-cpus", nil)
	if err != nil && !errors.Is(err, errors.ErrQMPCommand) { // machines without such slots say so
		return err
	}
	for _, slot := range slots {
		if slot.Path == peripheral+r.id {
			return r.removableCPU(ctx)
		}
	}
	return nil
}

// removableCPU refuses to unplug an emulated CPU: QEMU never says that it went, and aborts
// at one of the next changes, 7.2 when memory is plugged, 10.0 when a CPU is.
func (r removal) removableCPU(ctx context.Context) error {
	kvm, err := qom[struct{ Enabled bool }](ctx, r.plug, "query-kvm", nil)
	if err != nil || kvm.Enabled {
		return err
	}
	return r.refusal(errors.ErrQMPUnsupported, "QEMU can't unplug CPUs that it emulates",
		"let the guest put it offline (/sys/devices/system/cpu/cpuN/online), or use KVM", nil)
}

// request asks the guest. refused is QEMU's error when it did not pass the request on:
// mostly because an earlier one is pending, which it does not say by class.
func (r removal) request(ctx context.Context) (gone bool, refused, err error) {
	err = r.change(ctx, "device_del", map[string]any{"id": r.id})
	switch {
	case hasClass(err, "DeviceNotFound"):
		return true, nil, nil
	case errors.Is(err, errors.ErrQMPCommand):
		return false, err, nil
	case err != nil && ctx.Err() != nil:
		return false, nil, r.late(ctx, nil)
	}
	return false, nil, err
}

// halted reports whether the device is gone already, as those are that need no guest. If
// not, and the guest does not run, it won't let go.
func (r removal) halted(ctx context.Context) (gone bool, err error) {
	status, err := r.m.Status(ctx, r.ref)
	if err != nil || status.Running {
		return false, r.inTime(ctx, err)
	}
	there, err := r.exists(ctx, peripheral+r.id)
	if err != nil || !there {
		return !there, r.inTime(ctx, err)
	}
	return false, r.refusal(errors.ErrDeviceBusy, "the guest can't let go of it while it is "+status.Status, "resume the VM first", nil)
}

// await waits for the guest's answer.
func (r removal) await(ctx context.Context, conn Conn, sub *Subscription, refused error) error {
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for {
		gone := false
		var err error
		select {
		case e, ok := <-sub.C():
			if !ok {
				return onVM(errors.Wrap(errors.ErrQMPConnection, "unplug device "+r.id, "", conn.Err()), r.vm())
			}
			gone, err = r.answered(ctx, e)
		case <-again.C:
			gone, refused, err = r.request(ctx)
		case <-ctx.Done():
			return r.late(ctx, refused)
		}
		if gone || err != nil {
			return err
		}
	}
}

// answered judges an event.
func (r removal) answered(ctx context.Context, e Event) (gone bool, err error) {
	var data struct{ Device, Msg string }
	if err := e.Decode(&data); err != nil {
		return false, errors.Wrap(errors.ErrQMP, "decode "+e.Name, r.vm(), err)
	}
	switch {
	case e.Name == EventGap || e.Dropped > 0:
		there, err := r.exists(ctx, peripheral+r.id)
		return err == nil && !there, r.inTime(ctx, err)
	case data.Device != r.id:
		return false, nil
	case e.Name == eventDeleted:
		return true, nil
	}
	if data.Msg != "" {
		data.Msg = ": " + data.Msg
	}
	return false, r.refusal(errors.ErrDeviceBusy, "the guest refused to let go of it"+data.Msg, "stop using it in the guest first", nil)
}

// inTime makes an error that the end of ctx caused ErrDeviceBusy.
func (r removal) inTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return r.late(ctx, nil)
	}
	return err
}

// late is a guest that did not answer. cause is why QEMU did not ask it, if it did not.
func (r removal) late(ctx context.Context, cause error) error {
	why := context.Cause(ctx)
	if cause != nil {
		why = fmt.Errorf("%w; %w", why, cause)
	}
	return r.refusal(errors.ErrDeviceBusy, "the guest has not let go of it", "try again when its system is up and does not use it", why)
}

func (r removal) refusal(kind *errors.Kind, msg, hint string, cause error) error {
	return &errors.Error{Kind: kind, Op: "unplug device " + r.id + " of VM", VM: r.vm(), Msg: msg, Hint: hint, Err: cause}
}
