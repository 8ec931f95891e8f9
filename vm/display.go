package vm

import "strings"

// Kinds of [Display].Type.
const (
	DisplayNone  = "none"
	DisplayVNC   = "vnc"
	DisplaySpice = "spice"
)

// Kinds of [Display].Adapter.
const (
	AdapterNone   = "none"
	AdapterStd    = "std"    // QEMU's VGA
	AdapterVirtio = "virtio" // virtio-vga on x86, elsewhere virtio-gpu, which shows nothing before the guest's driver does
	AdapterQXL    = "qxl"    // for spice; x86 only
	AdapterCirrus = "cirrus" // Cirrus Logic GD5446, of 1995
	AdapterRAMFB  = "ramfb"  // a frame buffer that the firmware sets up
)

// Display is the guest's screen and who can look at it. qmp.Manager.Screenshot needs only
// an Adapter. A screen is black until something writes there: Boot.Cmdline "console=tty0
// console=ttyS0" makes the kernel and the default guest's shell do so.
type Display struct {
	// Type is "none" (the default), "vnc" or "spice". Both listen on a unix socket with
	// mode 0600 in the VM's own folder, which Instance.Runtime.Sockets has by the name of
	// the type. Several clients can look at once.
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// Adapter is the graphics card: "none", "std" (VGA), "virtio", "qxl", "cirrus" or
	// "ramfb". Empty: with Type none none; else on the PC's machines "std" for vnc and
	// "qxl" for spice, on others "virtio". Its ID is [DeviceAdapter].
	Adapter string `json:"adapter,omitempty" yaml:"adapter,omitempty"`
	// PasswordFile is the path of a file whose first line is the password that a client
	// must give, for vnc at most 8 characters, for spice at most 60; nobody else should be
	// able to read it. It is read when the VM starts, and goes to QEMU by QMP before the
	// guest runs. Empty: none is needed. See qmp.Manager.SetDisplayPassword.
	PasswordFile string `json:"password_file,omitempty" yaml:"password_file,omitempty"`
}

// AdapterOn returns the graphics card that a machine gets, by its type or alias: Adapter, or
// what it is by default.
func (d Display) AdapterOn(arch, machine string) string {
	pc := arch == "x86_64" && !strings.HasPrefix(machine, "microvm")
	switch {
	case d.Adapter != "":
		return d.Adapter
	case d.Type == "" || d.Type == DisplayNone:
		return AdapterNone
	case !pc:
		return AdapterVirtio
	case d.Type == DisplaySpice:
		return AdapterQXL
	default:
		return AdapterStd
	}
}
