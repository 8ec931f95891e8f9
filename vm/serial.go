package vm

import "fmt"

// Kinds of [Serial].Type.
const (
	// SerialISA is the PC's serial port (16550A): on x86 an ISA device, which Linux calls
	// ttyS1, ttyS2, ttyS3 in the order of Config.Serials; on other machines a PCI card
	// (pci-serial), which gets the next free number there. A program writes to it at no
	// more than 100 KB/s.
	SerialISA = "isa"
	// SerialVirtio is a virtio port, /dev/virtio-ports/NAME, which Linux has a driver for
	// as early as for the agent's. It is fast, and can be unplugged by its name.
	SerialVirtio = "virtio"
)

// SerialSocketAuto is a [Serial].Socket in the VM's own folder.
const SerialSocketAuto = "auto"

// MaxSerials is how many Config.Serials there can be.
const MaxSerials = 16

// Serial is a serial port besides the console. Give at most one of File, Socket and PTY;
// with none of them what the guest writes is lost.
type Serial struct {
	// Name identifies the port, also as a device and character device to QMP, and is the
	// name of a virtio port inside the guest: a letter, then at most 30 letters, digits,
	// '.', '_' and '-'. Empty: "serial0", "serial1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Type is [SerialVirtio] (the default) or [SerialISA].
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// File is the path of a file that gets what the guest writes, at its end. It is made
	// with mode 0600 if it is not there, and never removed. A symbolic link is refused.
	File string `json:"file,omitempty" yaml:"file,omitempty"`
	// Socket is the path of a unix socket on which QEMU listens, at most 107 bytes. What
	// is there already is refused, except for a socket on which nobody listens. Its mode is
	// 0600. "auto": one in the VM's own folder, which Instance.Runtime.Sockets has by Name,
	// and which is removed with the guest. One client at a time is served.
	Socket string `json:"socket,omitempty" yaml:"socket,omitempty"`
	// PTY makes a pseudo-terminal, whose path Instance.Runtime.Terminals has by Name.
	PTY bool `json:"pty,omitempty" yaml:"pty,omitempty"`
}

// NameAt returns the port's name, or the one it has by its position.
func (s Serial) NameAt(index int) string {
	if s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("serial%d", index)
}

// Kind returns Type, or what it is by default.
func (s Serial) Kind() string {
	if s.Type != "" {
		return s.Type
	}
	return SerialVirtio
}
