package process

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/maqet/maqet/internal/guestview"
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
			return guestview.OwnWord(word, name)
		})
	}
	machine := parsePairs(valueOf(args, "-machine"))
	if code, ok := nodeOf(args, nodeCode); ok && machine["pflash0"] == nodeCode {
		boot.UEFI = &vm.UEFI{Code: code.path(), CodeFormat: code.Driver, SMM: machine["smm"] == "on"}
		if nvram, ok := nodeOf(args, nodeNVRAM); ok {
			boot.UEFI.NVRAMFormat = nvram.Driver
		}
	}
	return boot
}

// namedNode is a block node of QEMU's command line, with what it is known by here.
type namedNode struct {
	Driver   string
	Name     string `json:"node-name"`
	Filename string
	File     json.RawMessage // a node of its own, or the name of one
}

func (n namedNode) path() string {
	var file struct{ Filename string }
	if n.Filename == "" && json.Unmarshal(n.File, &file) == nil {
		return file.Filename
	}
	return n.Filename
}

// nodeOf finds a block node.
func nodeOf(args []string, name string) (namedNode, bool) {
	for i, arg := range args[:max(len(args)-1, 0)] {
		var node namedNode
		if arg == "-blockdev" && json.Unmarshal([]byte(args[i+1]), &node) == nil && node.Name == name {
			return node, true
		}
	}
	return namedNode{}, false
}

// nodeFile returns the path of a block node's file; empty: there is no such node.
func nodeFile(args []string, name string) string {
	node, _ := nodeOf(args, name)
	return node.path()
}
