package vm

import "fmt"

// Kinds of [Share].Type.
const (
	Share9p       = "9p"       // by QEMU itself; the guest's kernel needs 9p
	ShareVirtiofs = "virtiofs" // by the program virtiofsd; the guest's kernel needs virtiofs
)

// Share is a folder of the host that the guest can mount.
type Share struct {
	// Name is the tag to mount it by. Empty: "share0", "share1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Path is the folder.
	Path string `json:"path" yaml:"path"`
	// Type is "9p" or "virtiofs". Empty: what the host has and the guest's kernel is known to take.
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// Writable lets the guest write. Without it the host refuses each write, whatever the
	// guest mounts.
	Writable bool `json:"writable,omitempty" yaml:"writable,omitempty"`
	// Mount is where maqet's own init mounts it in the guest. Empty: /mnt/NAME. Other
	// guests mount it themselves.
	Mount string `json:"mount,omitempty" yaml:"mount,omitempty"`
	// Security is 9p's security model: "mapped-xattr", "mapped-file", "passthrough" or "none"
	// (the default). QEMU manual, "-fsdev local".
	Security string `json:"security,omitempty" yaml:"security,omitempty"`
}

// NameAt returns the share's name, or the one it has by its position.
func (s Share) NameAt(index int) string {
	if s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("share%d", index)
}
