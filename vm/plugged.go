package vm

import (
	"context"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// A Manager is the qmp.Recorder of its VMs.
var _ qmp.Recorder = (*Manager)(nil)

// DeviceAdded implements qmp.Recorder: it puts d into [Instance].Plugged, instead of any
// other device with its ID.
func (m *Manager) DeviceAdded(ctx context.Context, ref string, d qmp.Device) error {
	ctx, done, err := m.begin(ctx, "record a plugged device")
	if err != nil {
		return err
	}
	defer done()
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return err
	}
	return m.states.retry(ctx, inst.ID, func(now Instance) error {
		_, err := m.states.amend(ctx, now, func(i *Instance) { i.Plugged = append(withoutDevice(i.Plugged, d.ID), d.Clone()) })
		return err
	})
}

// DeviceRemoved implements qmp.Recorder: it takes the device out of [Instance].Plugged,
// or puts it into [Instance].Unplugged when it is one of the configuration's. A device
// that is in the guest, because somebody has plugged it again, stays as it is.
func (m *Manager) DeviceRemoved(ctx context.Context, ref, id string) error {
	ctx, done, err := m.begin(ctx, "record a removed device")
	if err != nil {
		return err
	}
	defer done()
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return err
	}
	return m.deviceGone(ctx, inst.ID, inst.Runtime.Process, id)
}

// deviceGone corrects the record of a VM after its process was seen to have let go of a
// device. That may be long ago: so QEMU is asked after the record was read, and a change
// in between makes the write fail.
func (m *Manager) deviceGone(ctx context.Context, vmID string, process Process, id string) error {
	return m.states.retry(ctx, vmID, func(now Instance) error {
		if now.Runtime.Process != process {
			return nil // started again since, with the device
		}
		change := without(now, id)
		if change == nil {
			return nil
		}
		if lg := m.live.cached(vmID); lg != nil {
			if there, err := lg.hasDevice(ctx, id); err != nil || there {
				return err
			}
		}
		_, err := m.states.amend(ctx, now, change)
		return err
	})
}

// ForgetDevice implements qmp.Recorder: it does what DeviceRemoved does, for a VM that is
// not live. A device of the configuration goes to [Instance].Unplugged like one that was
// removed while the VM ran: applying another configuration brings it back. A live VM is
// errors.ErrIllegalTransition: what it has is for QEMU to say.
func (m *Manager) ForgetDevice(ctx context.Context, ref, id string) (known bool, err error) {
	ctx, done, err := m.begin(ctx, "forget a device")
	if err != nil {
		return false, err
	}
	defer done()
	inst, err := m.store.Get(ctx, ref)
	if err != nil {
		return false, err
	}
	err = m.states.retry(ctx, inst.ID, func(now Instance) error {
		if now.held() {
			return &errors.TransitionError{VM: now.Name, Op: "forget device " + id + " of", State: string(now.State),
				Hint: "try again when it runs, or has stopped"}
		}
		change := without(now, id)
		if known = change != nil; !known {
			return nil
		}
		_, err := m.states.amend(ctx, now, change)
		return err
	})
	return known && err == nil, err
}

// without returns the change of inst's record that makes a start come without the device,
// nil when a start comes without it anyway.
func without(inst Instance, id string) func(*Instance) {
	plugged := slices.ContainsFunc(inst.Plugged, func(d qmp.Device) bool { return d.ID == id })
	configured := inst.Config.hasDevice(id) && !slices.Contains(inst.Unplugged, id)
	if !plugged && !configured {
		return nil
	}
	return func(i *Instance) {
		i.Plugged = withoutDevice(i.Plugged, id)
		if plugged { // its image is not the layer's any more when it is plugged again
			i.Layers = withoutLayer(i.Layers, id)
		}
		if configured {
			i.Unplugged = append(slices.Clone(i.Unplugged), id)
		}
	}
}

// hasDevice asks QEMU whether it has the device.
func (g *liveGuest) hasDevice(ctx context.Context, id string) (bool, error) {
	there, err := g.hasID(ctx, id)
	if n, ok := g.guest.(DeviceNamer); ok && err == nil && !there {
		return g.hasID(ctx, n.DeviceID(id))
	}
	return there, err
}

func (g *liveGuest) hasID(ctx context.Context, id string) (bool, error) {
	_, err := g.guest.QMP().Execute(ctx, "qom-get", map[string]string{"path": "/machine/peripheral/" + id, "property": "type"})
	var refused *errors.QMPError
	if errors.As(err, &refused) && refused.Class == "DeviceNotFound" {
		return false, nil
	}
	return err == nil, err
}

// unplugged records, in the background, that the guest let go of a device.
func (g *liveGuest) unplugged(ev qmp.Event) {
	var data struct {
		Device string `json:"device"`
	}
	if ev.Decode(&data) != nil || data.Device == "" {
		return
	}
	id := data.Device
	if n, ok := g.guest.(DeviceNamer); ok {
		id = n.DeviceName(id)
	}
	g.wg.Go(func() { g.deviceGone(id) })
}

func (g *liveGuest) deviceGone(id string) {
	err := g.m.deviceGone(g.ctx, g.id, g.guest.Runtime().Process, id)
	if err != nil && !errors.Is(err, errors.ErrVMNotFound) && g.ctx.Err() == nil {
		g.m.log.Warn("removed device not recorded", "vm", g.name, "device", id, "error", err)
	}
}

// lookForDevices corrects, in the background, the record of a guest that was just found
// again: it may have let go of a device while no process watched it.
func (g *liveGuest) lookForDevices(inst Instance) {
	var ids []string
	for _, d := range inst.Plugged {
		ids = append(ids, d.ID)
	}
	ids = append(ids, inst.Config.removable()...)
	if len(ids) == 0 {
		return
	}
	g.m.live.watching.Go(func() {
		for _, id := range ids {
			if there, err := g.hasDevice(g.ctx, id); err == nil && !there {
				g.deviceGone(id)
			}
		}
	})
}

// unplugged reports whether a device of the configuration was removed while the VM ran.
func (i Instance) unplugged(id string) bool { return slices.Contains(i.Unplugged, id) }

func withoutDevice(list []qmp.Device, id string) []qmp.Device {
	return slices.DeleteFunc(slices.Clone(list), func(d qmp.Device) bool { return d.ID == id })
}

// hardware returns the IDs of the devices that have fields of their own and can be taken
// out of a guest whose machine lets go of them.
func (c Config) hardware() (ids []string) {
	for id, has := range map[string]bool{
		DeviceRNG: c.RNG != nil, DeviceBalloon: c.Balloon != nil, DeviceWatchdog: c.Watchdog != nil,
		DeviceTablet: c.Tablet, DeviceVsock: c.Vsock != nil,
	} {
		if has {
			ids = append(ids, id)
		}
	}
	for i, s := range c.Serials {
		if s.Kind() == SerialVirtio {
			ids = append(ids, s.NameAt(i))
		}
	}
	return ids
}

// removable returns the IDs of all devices of the configuration that can be taken out.
func (c Config) removable() []string {
	ids := c.hardware()
	for i, d := range c.Devices {
		ids = append(ids, d.IDAt(i))
	}
	for i, d := range c.Disks {
		ids = append(ids, d.NameAt(i))
	}
	for i, n := range c.Networks {
		ids = append(ids, n.NameAt(i))
	}
	return ids
}

// hasDevice reports whether the configuration has a device, disk or network card of that
// name.
func (c Config) hasDevice(id string) bool { return slices.Contains(c.removable(), id) }
