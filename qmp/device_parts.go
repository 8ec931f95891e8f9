package qmp

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
)

// The kinds of [Part], by QEMU's command line option.
const (
	partBlockdev = "blockdev"
	partNetdev   = "netdev"
	partChardev  = "chardev"
	partObject   = "object"
	partDevice   = "device"
)

// Part is one of the objects that a [Device] consists of in QEMU.
type Part struct {
	// Option is "blockdev", "netdev", "chardev", "object" or "device": the option of
	// QEMU's command line that makes it.
	Option string
	// Args are the arguments of the QMP command that makes it (blockdev-add, netdev_add,
	// chardev-add, object-add, device_add). They are also the option's value in JSON
	// form, where it has one; -chardev has none.
	Args map[string]any
}

// Parts returns what QEMU has to make for the device, in order: backends, then the
// device itself. A backend has the device's ID. The device should be as it was recorded:
// with its driver and place.
func (d Device) Parts() []Part {
	device := map[string]any{"driver": d.driver(), "id": d.ID}
	maps.Copy(device, d.Props)
	if d.Bus != "" {
		device["bus"] = d.Bus
	}
	backend := d.backend(device)
	if backend == nil {
		return []Part{{partDevice, device}}
	}
	return []Part{*backend, {partDevice, device}}
}

// backend returns the part behind the device, nil when there is none, and adds to the
// device's own properties what refers to it.
func (d Device) backend(device map[string]any) *Part {
	switch {
	case d.Disk != nil:
		device["drive"] = d.ID
		if serial := d.Disk.serial(d.ID); serial != "" {
			device["serial"] = serial
		}
		return &Part{partBlockdev, d.Disk.nodes(d.ID)}
	case d.NIC != nil:
		device["netdev"] = d.ID
		if d.NIC.MAC != "" {
			device["mac"] = d.NIC.MAC
		}
		if _, given := device["romfile"]; !given && d.driver() == driverNIC {
			device["romfile"] = "" // nobody boots from it, and loading it takes time
		}
		return &Part{partNetdev, d.NIC.netdev(d.ID)}
	case d.Serial != nil:
		device["chardev"], device["name"] = d.ID, d.Serial.Name
		return &Part{partChardev, d.Serial.chardev(d.ID)}
	case d.RNG != nil:
		device["rng"] = objects + d.ID // "rng" alone may be part of another object's path
		return &Part{partObject, map[string]any{"qom-type": "rng-builtin", "id": d.ID}}
	case d.Memory != nil:
		device["memdev"] = objects + d.ID
		return &Part{partObject, map[string]any{"qom-type": "memory-backend-ram", "id": d.ID, "size": d.Memory.Size}}
	}
	return nil
}

// Drivers of the parts.
const (
	driverNIC    = "virtio-net-pci"
	driverSerial = "virtserialport"
	driverRNG    = "virtio-rng-pci"
	driverMemory = "pc-dimm"
)

// driver returns Driver, or what the part implies. A CPU's follows from the VM's.
func (d Device) driver() string {
	switch {
	case d.Driver != "":
		return d.Driver
	case d.Disk != nil:
		return d.Disk.driver()
	case d.NIC != nil:
		return driverNIC
	case d.Serial != nil:
		return driverSerial
	case d.RNG != nil:
		return driverRNG
	case d.Memory != nil:
		return driverMemory
	}
	return ""
}

func (d Disk) driver() string {
	switch d.Interface {
	case DiskSCSI:
		return "scsi-hd"
	case DiskNVMe:
		return "nvme"
	case DiskUSB:
		return "usb-storage"
	default:
		return "virtio-blk-pci"
	}
}

func (d Disk) serial(id string) string {
	if d.Serial == "" && d.Interface == DiskNVMe {
		return id[:min(len(id), maxSerial)]
	}
	return d.Serial
}

// fileNode is the name of the node below a disk's, and limitNode of the one above, and of
// its throttle group: a disk of vm.Config may have them.
func fileNode(id string) string  { return id + "-file" }
func limitNode(id string) string { return id + "-limit" }

// LayerNodes begins the names of the nodes of the images that external snapshots have put over
// a disk; 8 characters follow, and "-f" for the node of the file inside. QEMU's names of nodes
// have at most 31 characters, which a disk's ID would fill.
func LayerNodes(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "maqet-" + hex.EncodeToString(sum[:4]) + "-"
}

// nodes are the format's node with the file's inside: made, and removed, in one go.
func (d Disk) nodes(id string) map[string]any {
	return map[string]any{
		"driver": d.Format, "node-name": id, "read-only": d.ReadOnly, "discard": "unmap",
		"file": map[string]any{
			"driver": "file", "node-name": fileNode(id), "filename": d.Path, "read-only": d.ReadOnly, "discard": "unmap",
		},
	}
}

func (n NIC) netdev(id string) map[string]any {
	netdev := map[string]any{"type": "user", "id": id}
	var forwards []map[string]any
	for _, f := range n.Forwards {
		forwards = append(forwards, map[string]any{"str": f.Rule()})
	}
	if len(forwards) > 0 {
		netdev["hostfwd"] = forwards
	}
	return netdev
}

// Rule returns QEMU's form of the forward (QEMU manual, -netdev user, hostfwd).
func (f Forward) Rule() string {
	host := cmp.Or(f.Host, "127.0.0.1")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%s:%d-:%d", cmp.Or(f.Proto, "tcp"), host, f.Port, f.Guest)
}

// chardev is the argument of chardev-add (QEMU QMP Reference Manual, ChardevBackend).
// A socket is listened on, and not waited for.
func (s SerialPort) chardev(id string) map[string]any {
	kind, data := "null", map[string]any{}
	switch {
	case s.Socket != "":
		kind = "socket"
		data["addr"] = map[string]any{"type": "unix", "data": map[string]any{"path": s.Socket}}
		data["server"], data["wait"] = true, false
	case s.File != "":
		kind = "file"
		data["out"], data["append"] = s.File, true
	}
	return map[string]any{"id": id, "backend": map[string]any{"type": kind, "data": data}}
}
