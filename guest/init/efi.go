package main

import "syscall"

// mountVariables mounts the variables of a UEFI, where there is one.
func mountVariables(mods *modules) {
	const dir = "/sys/firmware/efi/efivars"
	if syscall.Access(dir, 0) == nil {
		mods.loadAlias("fs-efivarfs")
		mount("efivarfs", dir, syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
	}
}
