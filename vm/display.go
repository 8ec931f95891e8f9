package vm

// Kinds of [Display].Type.
const (
	DisplayNone  = "none"
	DisplayVNC   = "vnc"
	DisplaySpice = "spice"
)

// Display is the guest's screen and who can look at it. qmp.Manager.Screenshot needs only
// an Adapter.
type Display struct {
	// Type is "none" (the default), "vnc" or "spice". Both listen on a unix socket in the VM's
	// own folder, which Instance.Runtime.Sockets has by the name of the type.
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// Adapter is the graphics card: "none", "std" (VGA), "virtio", "qxl", "cirrus" or
	// "ramfb". Empty: "std" with Type vnc, "qxl" with spice, else "none".
	Adapter string `json:"adapter,omitempty" yaml:"adapter,omitempty"`
	// PasswordFile is the path of a file whose first line is the password that a client
	// must give. It is read when the VM starts and goes to QEMU by QMP. Empty: none is needed.
	PasswordFile string `json:"password_file,omitempty" yaml:"password_file,omitempty"`
}
