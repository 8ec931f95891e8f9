package guestview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
)

// By what names maqet's own init learns of its host name, its shares and the addresses of
// its network cards from the kernel's command line; package guest/init has their forms.
const (
	HostNameParameter = "maqet.hostname="
	ShareParameter    = "maqet.share="
	AddressParameter  = "maqet.net="
)

// MaxCmdline is what kernels take: COMMAND_LINE_SIZE in Linux's asm/setup.h, less a NUL.
const MaxCmdline = 2047

// Cmdline returns the words of the kernel command line of a guest that boots a kernel:
// spec.Boot.Cmdline, and before it what is told of the machine. shareType says which type a
// share has.
func Cmdline(spec vm.LaunchSpec, arch string, shareType func(vm.Share) string) []string {
	cmdline := spec.Boot.Cmdline
	if address := Addresses(spec); address != "" && spec.Boot.Default {
		cmdline = slices.Concat([]string{address}, cmdline)
	}
	if !spec.Config.Console.Disabled && !slices.ContainsFunc(cmdline, func(a string) bool { return strings.HasPrefix(a, "console=") }) {
		// In front: what follows "--" is for init.
		cmdline = slices.Concat([]string{"console=" + consoleDevice(arch)}, cmdline)
	}
	return slices.Concat(hostName(spec, cmdline), ShareArgs(spec, shareType), cmdline)
}

// OwnWord reports whether a word of the kernel command line of the VM with this name was
// added by [Cmdline] for maqet's own init: the next start adds it again.
func OwnWord(word, name string) bool {
	return word == HostNameParameter+vm.HostName(name) || strings.HasPrefix(word, ShareParameter) || strings.HasPrefix(word, AddressParameter)
}

// consoleDevice is what Linux calls the first serial port.
func consoleDevice(arch string) string {
	if arch == "aarch64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

// hostName tells maqet's own init the guest's host name.
func hostName(spec vm.LaunchSpec, cmdline []string) []string {
	name := vm.HostName(spec.Config.Name)
	if !spec.Boot.Default || name == "" || slices.ContainsFunc(cmdline, func(a string) bool { return strings.HasPrefix(a, HostNameParameter) }) {
		return nil
	}
	return []string{HostNameParameter + name}
}

// Addresses tells maqet's own init how to set network cards up. Of a first card on QEMU's
// user network with its usual addresses init knows by itself, and nothing is said.
func Addresses(spec vm.LaunchSpec) string {
	var entries []string
	user := map[string]bool{} // subnets whose guest address is taken
	for _, c := range Cards(spec.Config, spec.Unplugged) {
		entry := ""
		switch c.TypeOf() {
		case vm.NetworkUser, vm.NetworkPasst:
			subnet := cmp.Or(c.Subnet, vm.DefaultSubnet)
			if user[subnet] {
				break // one card has it; two would only confuse the routes
			}
			if user[subnet] = true; subnet == vm.DefaultSubnet && len(user) == 1 {
				continue
			}
			entry = strings.Join(UserAddresses(subnet), ",")
		default:
			entry = c.AddressOf(spec.ID)
		}
		entries = append(entries, c.MACOf(spec.ID)+","+cmp.Or(entry, "-"))
	}
	if len(entries) == 0 {
		return ""
	}
	return AddressParameter + strings.Join(entries, ";")
}

// ShareArgs tell maqet's own init what to mount, see guest/init: the type, "ro" or "rw",
// the tag and the mount point.
func ShareArgs(spec vm.LaunchSpec, shareType func(vm.Share) string) []string {
	if !spec.Boot.Default {
		return nil
	}
	var args []string
	for i, s := range spec.Config.Shares {
		mode := "ro"
		if s.Writable {
			mode = "rw"
		}
		args = append(args, strings.Join([]string{ShareParameter + shareType(s), mode, percent(s.NameAt(i)), percent(s.MountAt(i))}, ","))
	}
	return args
}

// percent writes what could end a word, or part of one, as % and two hexadecimal digits.
func percent(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/._-", c) >= 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
