package vm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
)

// IDs of the devices that have fields of their own in [Config], by which QMP knows them. A
// VM that has one can have no other device of that ID.
const (
	DeviceRNG          = "rng"
	DeviceBalloon      = "balloon"
	DeviceWatchdog     = "watchdog"
	DevicePVPanic      = "pvpanic"
	DeviceTablet       = "tablet"
	DeviceGenerationID = "vmgenid"
	DeviceVsock        = "vsock"
	DeviceAdapter      = "video" // of Display
)

// Device is any other QEMU device: Driver and properties as QEMU names them
// ("virtio-rng-pci", {"rng": "rng0"}). The ID is generated when empty.
//
// Many have fields of their own in [Config], which also say what a machine can't have: RNG,
// Balloon, Watchdog, PVPanic, Tablet, GenerationID, Vsock, Serials and Display.
//
// "virtio-tablet-pci" is a mouse that qmp.Mouse can move, as a Tablet is, for guests whose
// kernel has no USB.
type Device struct {
	Driver string         `json:"driver" yaml:"driver"`
	ID     string         `json:"id,omitempty" yaml:"id,omitempty"`
	Props  map[string]any `json:"props,omitempty" yaml:"props,omitempty"`
}

// IDAt returns the device's ID, or the one it has by its position.
func (d Device) IDAt(index int) string {
	if d.ID != "" {
		return d.ID
	}
	return fmt.Sprintf("device%d", index)
}

// GenerationIDAuto is a Config.GenerationID that is new at each start.
const GenerationIDAuto = "auto"

// RNG is a source of random numbers for the guest (virtio-rng), fed by the host's: the
// device and its backend have the ID [DeviceRNG].
type RNG struct {
	// Source is the path of a file or device to read from, such as /dev/hwrng. Empty: the
	// host's getrandom.
	Source string `json:"source,omitempty" yaml:"source,omitempty"`
	// MaxBytes bounds how many bytes the guest gets in each Period. 0: no bound.
	MaxBytes Size `json:"max_bytes,omitempty" yaml:"max_bytes,omitempty"`
	// Period is what MaxBytes is counted in, at least 1 ms. Empty: 1 s.
	Period Duration `json:"period,omitempty" yaml:"period,omitempty"`
}

// Balloon is virtio-balloon, by which the host takes memory back from the guest:
// qmp.Manager.SetMemory says how much it may have. Its ID is [DeviceBalloon].
type Balloon struct {
	// DeflateOnOOM gives memory back when the guest runs out of it.
	DeflateOnOOM bool `json:"deflate_on_oom,omitempty" yaml:"deflate_on_oom,omitempty"`
	// FreePageReporting lets the guest hand back memory that it does not use.
	FreePageReporting bool `json:"free_page_reporting,omitempty" yaml:"free_page_reporting,omitempty"`
}

// Models of a [Watchdog].
const (
	WatchdogI6300ESB = "i6300esb" // on a PCI bus: every machine but microvm
	WatchdogIB700    = "ib700"    // on an ISA bus: x86 only; Linux does not load its driver by itself
)

// Actions of a [Watchdog] (QEMU QMP Reference Manual, WatchdogAction).
const (
	WatchdogReset     = "reset"      // resets the machine; the VM goes on running
	WatchdogShutdown  = "shutdown"   // presses the power button; a guest that obeys is Stopped, ReasonGuestShutdown
	WatchdogPoweroff  = "poweroff"   // ends QEMU; the VM is Failed, ReasonWatchdog
	WatchdogPause     = "pause"      // halts the CPUs; the VM is Paused, ReasonWatchdog
	WatchdogDebug     = "debug"      // writes a line to QEMU's stderr
	WatchdogNone      = "none"       // nothing
	WatchdogInjectNMI = "inject-nmi" // sends a non-maskable interrupt to the CPUs
)

// Watchdog is a timer that does something when a guest that has set it stops resetting it.
// Whatever that is, QEMU also sends the QMP event WATCHDOG, with the action. Its ID is
// [DeviceWatchdog]. Debian's cloud kernel has no driver for any.
type Watchdog struct {
	// Model is one of the models. Empty: [WatchdogI6300ESB].
	Model string `json:"model,omitempty" yaml:"model,omitempty"`
	// Action is one of the actions. Empty: [WatchdogReset].
	Action string `json:"action,omitempty" yaml:"action,omitempty"`
}

// TPM is a trusted platform module, emulated by the program swtpm. What it holds is kept as
// Disk.Keep says by default.
type TPM struct {
	Version string `json:"version,omitempty" yaml:"version,omitempty"` // "2.0" (the default) or "1.2".
	Model   string `json:"model,omitempty" yaml:"model,omitempty"`     // "tis" or "crb". Empty: "crb" on x86 with version 2.0, else "tis".
}

// Vsock is a socket family between host and guest (vsock(7)), served by the host's kernel:
// it needs the module vhost_vsock, and the right to open /dev/vhost-vsock. Its ID is
// [DeviceVsock].
type Vsock struct {
	CID uint32 `json:"cid,omitempty" yaml:"cid,omitempty"` // the guest's address, at least 3. 0: derived from the VM's ID.
}

// CIDOf returns the guest's address in the VM with this ID: CID, or one that is the same at
// each start, and likely another one for each VM of the host.
func (v Vsock) CIDOf(id string) uint32 {
	if v.CID != 0 {
		return v.CID
	}
	sum := sha256.Sum256([]byte(id))
	return minCID + binary.BigEndian.Uint32(sum[:])%(maxCID-minCID+1)
}

// Addresses that a guest can have; the others mean the host, or any (vsock(7)).
const (
	minCID = 3
	maxCID = math.MaxUint32 - 1
)
