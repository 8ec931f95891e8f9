package storage

import "strings"

// imageOptions describes a qcow2 image for qemu-img's --image-opts, where subcommands have no
// option for the format: nothing is probed. The layers are the image and those below it. The
// secret of those that are encrypted is the object keyID.
func imageOptions(layers []layer) string {
	return describeImage("", layers[0]) + keyOptions(layers)
}

// chainOptions is imageOptions for a copy of the image at another place, which the names of its
// bases need not lead from. The copy is in the file that options "file.NAME" describe.
func chainOptions(layers []layer, file string) string {
	opts := "driver=qcow2," + file
	prefix := ""
	for _, l := range layers[1:] {
		prefix += "backing."
		opts += "," + describeImage(prefix, l)
	}
	return opts + keyOptions(layers)
}

func describeImage(prefix string, l layer) string {
	protocol := "file"
	if l.Device {
		protocol = "host_device"
	}
	return prefix + "driver=" + l.Format + "," + prefix + "file.driver=" + protocol + "," + prefix + "file.filename=" + optionValue(l.Path)
}

func keyOptions(layers []layer) (opts string) {
	for i, l := range layers {
		if l.Encrypted {
			opts += "," + strings.Repeat("backing.", i) + "encrypt.key-secret=" + keyID
		}
	}
	return opts
}

// optionValue is a value as QEMU's options have it: a comma would begin the next option, and
// is doubled (QEMU, util/qemu-option.c).
func optionValue(s string) string { return strings.ReplaceAll(s, ",", ",,") }
