package vm

import (
	"fmt"
	"strings"
)

func (v *validator) disks(disks []Disk) {
	seen := map[string]int{}
	for i, d := range disks {
		field := fmt.Sprintf("disks[%d]", i)
		name := d.NameAt(i)
		v.partName(field+".name", name)
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of disks[%d]", first), "give each disk a name of its own")
		}
		seen[name] = i
		v.disk(field, d)
	}
}

func (v *validator) disk(field string, d Disk) {
	v.text(field+".path", d.Path)
	v.text(field+".base", d.Base)
	v.oneOf(field+".format", d.Format, FormatRaw, FormatQcow2)
	v.oneOf(field+".interface", d.Interface, "virtio", "nvme")
	if d.Path != "" && d.Base != "" {
		v.add(field, "", "has both a path and a base", "give path to use an image in place, base to write to an overlay")
	}
	if (d.Path != "" || d.Base != "") && d.ImageFormat() == "" {
		v.add(field+".format", "", "is not given, and the file's ending does not tell", `set it to "raw" or "qcow2"`)
	}
	if d.Path == "" && d.Base == "" && d.Size == 0 {
		v.add(field, "", "has neither a path, nor a base, nor a size", "give the image to use, or the size of a new one")
	}
	if d.Size < 0 || d.Size%512 != 0 {
		v.add(field+".size", d.Size.String(), "is not a multiple of 512 bytes", "round it, for example to MiB")
	}
	if d.Path != "" && d.Size != 0 {
		v.add(field+".size", d.Size.String(), "can't change an image that is used in place", "leave it out, or use base")
	}
	if d.ReadOnly && d.Path == "" && d.Base == "" {
		v.add(field+".read_only", "", "makes no sense for a new, empty disk", "give a path or a base")
	}
	if len(d.Serial) > 20 || strings.ContainsFunc(d.Serial, func(r rune) bool { return r < ' ' || r > '~' }) {
		v.add(field+".serial", d.Serial, "is not a serial number", "use at most 20 printable ASCII characters")
	}
}
