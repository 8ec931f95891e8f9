package vm

import "fmt"

// Kinds of [Serial].Type.
const (
	SerialISA    = "isa"    // a port of the machine: ttyS1 and on
	SerialVirtio = "virtio" // /dev/virtio-ports/NAME
)

// Serial is a serial port besides the console. Give at most one of File, Socket and PTY;
// with none of them what the guest writes is lost.
type Serial struct {
	// Name identifies the port, and is the name of a virtio port inside the guest. Empty:
	// "serial0", "serial1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Type is "virtio" (the default) or "isa".
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// File is the path of a file that gets what the guest writes, at its end.
	File string `json:"file,omitempty" yaml:"file,omitempty"`
	// Socket is the path of a unix socket on which QEMU listens. "auto": one in the VM's own
	// folder, which Instance.Runtime.Sockets has by Name.
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
