package process

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
)

// bootOf says what a guest was booted from, as far as its command line tells: not the
// template of its UEFI's variables.
func bootOf(args []string, name string) vm.BootFiles {
	boot := vm.BootFiles{Kernel: valueOf(args, "-kernel"), Initrd: valueOf(args, "-initrd"), Firmware: valueOf(args, "-bios")}
	boot.Default = slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "socket,id="+vm.ChannelStream0+",") })
	boot.Cmdline = append(boot.Cmdline, strings.Fields(valueOf(args, "-append"))...)
	if boot.Default { // the next start adds these again
		boot.Cmdline = slices.DeleteFunc(boot.Cmdline, func(word string) bool {
			return word == hostNameParameter+vm.HostName(name) || strings.HasPrefix(word, shareParameter) || strings.HasPrefix(word, addressParameter)
		})
	}
	machine := parsePairs(valueOf(args, "-machine"))
	if machine["pflash0"] == nodeCode {
		boot.UEFI = uefiOf(args)
		boot.UEFI.SMM = machine["smm"] == "on"
	}
	return boot
}

// uefiOf finds the firmware that flash added.
func uefiOf(args []string) *vm.UEFI {
	uefi := &vm.UEFI{}
	for i, arg := range args[:max(len(args)-1, 0)] {
		var node struct {
			Driver string
			Name   string `json:"node-name"`
			File   struct{ Filename string }
		}
		if arg != "-blockdev" || json.Unmarshal([]byte(args[i+1]), &node) != nil {
			continue
		}
		switch node.Name {
		case nodeCode:
			uefi.Code, uefi.CodeFormat = node.File.Filename, node.Driver
		case nodeNVRAM:
			uefi.NVRAMFormat = node.Driver
		}
	}
	return uefi
}
