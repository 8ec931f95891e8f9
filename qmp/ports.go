package qmp

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
)

// Where the objects that have an ID are in QEMU's object model (QEMU manual, "The QEMU
// Object Model").
const (
	peripheral = "/machine/peripheral/"
	objects    = "/objects/"
)

// candidate is a device with a place that was free when QEMU was asked.
type candidate struct {
	place  string // names the place, to find it again
	device Device
}

// candidates returns d completed for each free place it can have, the best first, at
// least one. errors.ErrQMPUnsupported when there is none.
func (p plug) candidates(ctx context.Context, d Device) ([]candidate, error) {
	switch driver := d.driver(); {
	case d.CPU != nil:
		return p.cpuSlots(ctx, d)
	case d.Bus != "":
		return p.given(ctx, d)
	case d.Memory != nil:
		return p.memorySlots(ctx, d)
	case driver == driverSerial:
		return p.busOf(ctx, d, "virtio-serial", "leave vm.Config.Agent enabled, or plug a virtio-serial-pci first")
	case d.Disk != nil && d.Disk.Interface == DiskSCSI:
		return p.busOf(ctx, d, "virtio-scsi", "plug a device with the driver virtio-scsi-pci first")
	case d.Disk != nil && d.Disk.Interface == DiskUSB:
		return p.busOf(ctx, d, "qemu-xhci", "plug a device with the driver qemu-xhci first, or give vm.Config a disk with the interface usb")
	default:
		pci, err := p.isPCI(ctx, d)
		if err != nil {
			return nil, err
		}
		if pci {
			return p.ports(ctx, d)
		}
	}
	return []candidate{{d.Bus, d}}, nil // QEMU finds the bus, or says why not
}

// isPCI reports whether d is a PCI device, which shows in its properties. Those of the
// parts are known. To list the types that are would be simpler, but QEMU 10.0 then loads
// all its modules, and aborts where one is missing.
func (p plug) isPCI(ctx context.Context, d Device) (bool, error) {
	if d.Driver == "" {
		return true, nil
	}
	properties, err := qom[[]member](ctx, p, "device-list-properties", map[string]any{"typename": d.Driver})
	if errors.Is(err, errors.ErrQMPCommand) {
		return false, nil // an alias, or no driver at all: device_add says it
	}
	return slices.ContainsFunc(properties, func(m member) bool { return m.Name == "multifunction" }), err
}

// ports returns d on each free PCI place. query-pci would not do: it takes a port for
// empty until the guest's system has numbered its bus.
func (p plug) ports(ctx context.Context, d Device) ([]candidate, error) {
	names, err := p.devicesOf(ctx, "pcie-root-port")
	if err != nil {
		return nil, err
	}
	var free []candidate
	for _, name := range names {
		taken, err := p.occupied(ctx, name)
		if err != nil {
			return nil, err
		}
		if !taken {
			free = append(free, onPort(d, name))
		}
	}
	if len(free) > 0 {
		return free, nil
	}
	return p.rootBus(ctx, d, len(names))
}

// onPort returns d on a PCI Express port. It has to say that it is the first there: QEMU
// would put a second device beside the first, where no guest looks, and not mind.
func onPort(d Device, port string) candidate {
	d = d.Clone()
	d.Bus = port
	if d.Props == nil {
		d.Props = map[string]any{}
	}
	if _, set := d.Props["addr"]; !set {
		d.Props["addr"] = "0"
	}
	return candidate{port, d}
}

// given returns d where it says that it goes.
func (p plug) given(ctx context.Context, d Device) ([]candidate, error) {
	names, err := p.devicesOf(ctx, "pcie-root-port")
	if err == nil && slices.Contains(names, d.Bus) {
		return []candidate{onPort(d, d.Bus)}, nil
	}
	return []candidate{{d.Bus, d}}, err
}

// occupied reports whether a port's bus, which has its name, has a device.
func (p plug) occupied(ctx context.Context, port string) (bool, error) {
	members, err := p.list(ctx, peripheral+port+"/"+port)
	return slices.ContainsFunc(members, func(m member) bool { return strings.HasPrefix(m.Name, "child[") }), err
}

// rootBus returns d on the root bus where that takes devices, which is on the machine
// "pc" only: elsewhere it is PCI Express, whose devices on the root complex are fixed.
func (p plug) rootBus(ctx context.Context, d Device, ports int) ([]candidate, error) {
	machine, err := p.get(ctx, "/machine", "type")
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(machine, "pc-i440fx-") {
		d.Bus = "pci.0"
		return []candidate{{d.Bus, d}}, nil
	}
	e := p.unsupported(d, "machine "+machine+" has no port to plug it into", "set vm.Config.HotplugPorts to 1 or more, on machine q35 or virt")
	if ports > 0 {
		e = p.unsupported(d, fmt.Sprintf("all %d PCI Express ports are taken", ports), "unplug a device, or set vm.Config.HotplugPorts higher")
	}
	return nil, e
}

// busOf returns d on the first bus of a controller, which has the controller's name and
// a number.
func (p plug) busOf(ctx context.Context, d Device, controller, hint string) ([]candidate, error) {
	names, err := p.devicesOf(ctx, controller)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, p.unsupported(d, "the VM has no "+controller+" bus", hint)
	}
	d.Bus = names[0] + ".0"
	return []candidate{{d.Bus, d}}, nil
}

// memorySlots returns d if there is room for it (QEMU manual, -m slots and maxmem).
func (p plug) memorySlots(ctx context.Context, d Device) ([]candidate, error) {
	room, err := qom[struct {
		Size  int64 `json:"size"`
		Max   int64 `json:"max-size"`
		Slots int   `json:"slots"`
	}](ctx, p, "qom-get", map[string]any{"path": "/machine", "property": "memory"})
	if err != nil {
		return nil, err
	}
	modules, err := qom[[]struct {
		Data struct {
			Size int64 `json:"size"`
		} `json:"data"`
	}](ctx, p, "query-memory-devices", nil)
	if err != nil {
		return nil, err
	}
	left := room.Max - room.Size
	for _, m := range modules {
		left -= m.Data.Size
	}
	const hint = "set vm.Config.MaxMemory higher"
	switch {
	case room.Slots == 0:
		return nil, p.unsupported(d, "it has no slots for memory", "set vm.Config.MaxMemory")
	case len(modules) >= room.Slots:
		return nil, p.unsupported(d, fmt.Sprintf("all %d memory slots are taken", room.Slots), hint)
	case d.Memory.Size > left:
		return nil, p.unsupported(d, fmt.Sprintf("there is room for %d MiB of memory, not %d", left/mebibyte, d.Memory.Size/mebibyte), hint)
	}
	return []candidate{{"", d}}, nil
}

// cpuSlot is one of query-hotpluggable-cpus (QEMU QMP Reference Manual, HotpluggableCPU).
type cpuSlot struct {
	Type  string         `json:"type"`
	Props map[string]any `json:"props"`
	Path  string         `json:"qom-path"` // of the CPU in it; empty: free
}

// suits reports whether the slot is one that d's properties allow.
func (s cpuSlot) suits(d Device) bool {
	for key, at := range s.Props {
		if want, given := d.Props[key]; given && fmt.Sprint(want) != fmt.Sprint(at) {
			return false
		}
	}
	return true
}

// cpuSlots returns d in each free slot for CPUs. A machine that has no such slots
// answers with an error.
func (p plug) cpuSlots(ctx context.Context, d Device) ([]candidate, error) {
	slots, err := qom[[]cpuSlot](ctx, p, "query-hotpluggable-cpus", nil)
	if err != nil && !errors.Is(err, errors.ErrQMPCommand) {
		return nil, err
	}
	var free []candidate
	for _, slot := range slices.Backward(slots) { // QEMU has the highest first
		if slot.Path != "" || !slot.suits(d) {
			continue
		}
		in := d.Clone()
		in.Driver = cmp.Or(in.Driver, slot.Type)
		if in.Props == nil {
			in.Props = map[string]any{}
		}
		maps.Copy(in.Props, slot.Props)
		free = append(free, candidate{fmt.Sprint(slot.Props), in})
	}
	if len(free) == 0 {
		return nil, p.unsupported(d, "the VM has no free slot for this CPU", "set vm.Config.CPU.Max higher")
	}
	return free, nil
}

// member is a property of an object (QEMU QMP Reference Manual, ObjectPropertyInfo).
type member struct{ Name, Type string }

func (p plug) list(ctx context.Context, path string) ([]member, error) {
	return qom[[]member](ctx, p, "qom-list", map[string]any{"path": path})
}

// devicesOf returns the IDs of the devices whose type begins so, sorted by length and
// name: port2 before port10.
func (p plug) devicesOf(ctx context.Context, kind string) (names []string, err error) {
	members, err := p.list(ctx, strings.TrimSuffix(peripheral, "/"))
	for _, m := range members {
		if strings.HasPrefix(m.Type, "child<"+kind) {
			names = append(names, m.Name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return names, err
}

// get returns a property that is a text.
func (p plug) get(ctx context.Context, path, property string) (string, error) {
	return qom[string](ctx, p, "qom-get", map[string]any{"path": path, "property": property})
}

// exists reports whether the object model has something at path.
func (p plug) exists(ctx context.Context, path string) (bool, error) {
	_, err := p.get(ctx, path, "type")
	if hasClass(err, "DeviceNotFound") {
		return false, nil
	}
	return err == nil, err
}

// qom asks QEMU.
func qom[T any](ctx context.Context, p plug, command string, args any) (T, error) {
	return Call[T](ctx, p.m, p.ref, command, args)
}

// hasClass reports whether err is QEMU's own of that class (QMP specification, "Error").
func hasClass(err error, class string) bool {
	var e *errors.QMPError
	return errors.As(err, &e) && e.Class == class
}
