package vm

import "fmt"

// Kinds of [Share].Type.
const (
	Share9p       = "9p"       // by QEMU itself; the guest's kernel needs 9p
	ShareVirtiofs = "virtiofs" // by the program virtiofsd; the guest's kernel needs virtiofs
)

// Share is a folder of the host that the guest can mount. Links in it that lead out of it
// lead to the guest's own files.
//
// A share of type "virtiofs" needs the program virtiofsd, which QEMU 7.2 brings along and
// later ones have in a package of its own; the former one can be used by root only. It
// runs as long as the guest; should it end before, its share hangs, and
// Instance.Runtime says so. A VM with one can't have MaxMemory.
type Share struct {
	// Name is the tag to mount it by, printable characters without slashes: at most 36
	// bytes, with type "9p" 31. Empty: "share0", "share1", ... by position.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Path is the folder. It must exist when the VM starts.
	Path string `json:"path" yaml:"path"`
	// Type is "9p" or "virtiofs". Empty: "virtiofs" where the host has a virtiofsd that can
	// serve this share, else "9p". Debian's kernels for clouds have no 9p.
	Type string `json:"type,omitempty" yaml:"type,omitempty"`
	// Writable lets the guest write. Without it the host refuses each write, whatever the
	// guest mounts.
	Writable bool `json:"writable,omitempty" yaml:"writable,omitempty"`
	// Mount is where maqet's own init mounts it in the guest; a guest where that fails does
	// not come up. Empty: /mnt/NAME. Other guests mount it themselves.
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

// MountAt returns where maqet's own init mounts the share.
func (s Share) MountAt(index int) string {
	if s.Mount != "" {
		return s.Mount
	}
	return "/mnt/" + s.NameAt(index)
}
