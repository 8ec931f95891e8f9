package main

import (
	"os"
	"path/filepath"
)

// online lets the kernel use a CPU or a block of memory that was plugged (Linux,
// Documentation/ABI/testing/sysfs-devices-system-cpu and sysfs-devices-memory). Memory
// becomes movable where it can, so that it can be unplugged again.
func online(device string) {
	state := filepath.Join(device, "state")
	switch {
	case readSmall(filepath.Join(device, "online")) == "1":
	case readSmall(state) == "":
		writeSysfs(filepath.Join(device, "online"), "1") // a CPU
	case !writeSysfs(state, "online_movable"):
		writeSysfs(state, "online")
	}
}

// onlineMemory brings in the memory modules that the guest booted with: unlike CPUs they
// wait to be asked, and their uevents came before there was an init.
func onlineMemory(sys string) {
	states, _ := filepath.Glob(sys + "/devices/system/memory/memory*/state")
	for _, state := range states {
		if readSmall(state) == "offline" {
			online(filepath.Dir(state))
		}
	}
}

func writeSysfs(path, text string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err == nil
}
