package vm

import (
	"fmt"
	"path/filepath"
	"strings"
)

// NameAt returns the disk's name, or the one it has by its position.
func (d Disk) NameAt(index int) string {
	if d.Name != "" {
		return d.Name
	}
	return fmt.Sprintf("disk%d", index)
}

// ImageFormat returns Format, or what the ending of Path or Base says, or "".
func (d Disk) ImageFormat() string {
	if d.Format != "" {
		return d.Format
	}
	switch strings.ToLower(filepath.Ext(d.Path + d.Base)) {
	case ".qcow2":
		return FormatQcow2
	case ".raw", ".img", ".iso":
		return FormatRaw
	}
	return ""
}

// HasImage reports whether the disk holds an image that existed before, which a
// guest might boot from.
func (d Disk) HasImage() bool { return d.Path != "" || d.Base != "" }

// inPlace reports whether the guest works on the image that the user brought. No image
// is made then.
func (d Disk) inPlace() bool { return d.Path != "" || (d.Base != "" && d.ReadOnly) }

// keeps reports whether what the guest writes outlives the guest.
func (d Disk) keeps(l Lifetime) bool {
	if d.Keep != nil {
		return *d.Keep
	}
	return l == Persistent
}

// NameAt returns the network's name, or the one it has by its position.
func (n Network) NameAt(index int) string {
	if n.Name != "" {
		return n.Name
	}
	return fmt.Sprintf("net%d", index)
}
