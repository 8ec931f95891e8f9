package storage

import (
	"os"
	"strings"
)

// imageOptions describes a qcow2 image for qemu-img's --image-opts, where subcommands have no
// option for the format: nothing is probed.
func imageOptions(path string) (string, error) {
	path, err := absolute(path)
	if err != nil {
		return "", err
	}
	protocol := "file"
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeDevice != 0 {
		protocol = "host_device"
	}
	return "driver=qcow2,file.driver=" + protocol + ",file.filename=" + optionValue(path), nil
}

// optionValue is a value as QEMU's options have it: a comma would begin the next option, and
// is doubled (QEMU, util/qemu-option.c).
func optionValue(s string) string { return strings.ReplaceAll(s, ",", ",,") }
