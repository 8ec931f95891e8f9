package main

import "os"

// online lets the kernel use a CPU or a block of memory that was plugged (Linux,
// Documentation/ABI/testing/sysfs-devices-system-cpu and sysfs-devices-memory). Memory
// becomes movable where it can, so that it can be unplugged again.
func online(device string) {
	state := device + "/state"
	switch {
	case readSmall(device+"/online") == "1":
	case readSmall(state) == "":
		writeSysfs(device+"/online", "1") // a CPU
	case !writeSysfs(state, "online_movable"):
		writeSysfs(state, "online")
	}
}

// onlineMemory brings in the memory modules that the guest booted with: unlike CPUs they
// wait to be asked, and their uevents came before there was an init.
func onlineMemory(sys string) {
	blocks := sys + "/devices/system/memory/"
	dir, err := os.Open(blocks)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if readSmall(blocks+name+"/state") == "offline" {
			online(blocks + name)
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
