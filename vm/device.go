package vm

import "fmt"

// Device is any other QEMU device: Driver and properties as QEMU names them
// ("virtio-rng-pci", {"rng": "rng0"}). The ID is generated when empty.
//
// A VGA-compatible adapter, such as "VGA", gives the guest a screen, which is black until
// something writes there: Boot.Cmdline "console=tty0 console=ttyS0" makes the kernel and
// the default guest's shell do so. "virtio-tablet-pci" is a mouse that qmp.Mouse can move.
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

// RNG is a source of random numbers for the guest (virtio-rng), fed by the host's.
type RNG struct {
	// Source is the path of a file or device to read from, such as /dev/hwrng. Empty: the
	// host's getrandom.
	Source string `json:"source,omitempty" yaml:"source,omitempty"`
	// MaxBytes bounds how many bytes the guest gets in each Period. 0: no bound.
	MaxBytes Size     `json:"max_bytes,omitempty" yaml:"max_bytes,omitempty"`
	Period   Duration `json:"period,omitempty" yaml:"period,omitempty"` // Empty: 1 s.
}

// Balloon is virtio-balloon, by which the host takes memory back from the guest.
type Balloon struct {
	// DeflateOnOOM gives memory back when the guest runs out of it.
	DeflateOnOOM bool `json:"deflate_on_oom,omitempty" yaml:"deflate_on_oom,omitempty"`
	// FreePageReporting lets the guest hand back memory that it does not use.
	FreePageReporting bool `json:"free_page_reporting,omitempty" yaml:"free_page_reporting,omitempty"`
}

// Watchdog is a timer that does something when the guest stops resetting it.
type Watchdog struct {
	// Model is QEMU's name. Empty: "i6300esb".
	Model string `json:"model,omitempty" yaml:"model,omitempty"`
	// Action is "reset" (the default), "shutdown", "poweroff", "inject-nmi", "pause", "debug" or
	// "none". Each also sends the QMP event WATCHDOG.
	Action string `json:"action,omitempty" yaml:"action,omitempty"`
}

// TPM is a trusted platform module, emulated by the program swtpm. What it holds is kept as
// Disk.Keep says by default.
type TPM struct {
	Version string `json:"version,omitempty" yaml:"version,omitempty"` // "2.0" (the default) or "1.2".
	Model   string `json:"model,omitempty" yaml:"model,omitempty"`     // "tis" or "crb". Empty: "crb" on x86 with version 2.0, else "tis".
}

// Vsock is a socket family between host and guest. It needs the host's vhost_vsock.
type Vsock struct {
	CID uint32 `json:"cid,omitempty" yaml:"cid,omitempty"` // the guest's address, at least 3. 0: derived from the VM's ID.
}
