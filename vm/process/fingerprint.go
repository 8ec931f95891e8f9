package process

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// shownDifferences is how many of them an error has room for.
const shownDifferences = 4

// fitsIncoming refuses to load a state into another machine than that which was saved.
// QEMU itself would load most: it sees a device that is missing, but not one too many, or
// another CPU.
func (b *builder) fitsIncoming() error {
	in := b.spec.Incoming
	if in == nil {
		return nil
	}
	different := in.Fingerprint.Differences(b.fingerprint())
	if len(different) == 0 {
		return nil
	}
	more := ""
	if n := len(different) - shownDifferences; n > 0 {
		more, different = fmt.Sprintf("; and %d more", n), different[:shownDifferences]
	}
	return &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "launch from a saved state", VM: b.spec.Config.Name,
		Msg:  "the machine would be another one than the template's: " + strings.Join(different, "; ") + more,
		Hint: "capture the template again with this configuration and QEMU, or start by vm.ColdBoot"}
}

// fingerprint says which machine the command line makes.
func (b *builder) fingerprint() vm.Fingerprint {
	return fingerprintOf(b.commandLine(), b.spec.Plugged, nil, b.host.version, b.host.build)
}

// fingerprintOf says which machine a command line makes, with the devices that were plugged
// into it or removed since.
func fingerprintOf(args []string, plugged []qmp.Device, unplugged []string, version, build string) vm.Fingerprint {
	options := parseRaw(args[min(1, len(args)):])
	machine, _, _ := strings.Cut(valueOf(args, "-machine"), ",")
	f := vm.Fingerprint{QEMU: strings.TrimSpace(version + " " + build), Machine: machine,
		Accel: valueOf(args, "-accel"), CPU: valueOf(args, "-cpu")}
	if f.Accel == "kvm" {
		f.CPU += hostCPU()
	}
	changed := slices.Clone(unplugged)
	for _, d := range plugged {
		changed = append(changed, d.ID)
	}
	options = slices.DeleteFunc(options, func(a argument) bool { return slices.Contains(changed, a.id) && a.id != "" })
	for _, d := range plugged {
		for _, part := range d.Parts() {
			if a, err := inJSON(part.Option, d.ID, "", part.Args); err == nil { // else QEMU could not have it
				options = append(options, a)
			}
		}
	}
	ram := parsePairs(valueOf(args, "-machine"))["memory-backend"]
	var lines []string
	for _, a := range options {
		if line := machineLine(a, ram); line != "" {
			lines = append(lines, line)
		}
	}
	f.Args = strings.Join(lines, "\n")
	text, err := json.Marshal(f)
	if err != nil {
		return f // it has nothing but texts
	}
	sum := sha256.Sum256(text)
	f.Hash = hex.EncodeToString(sum[:])
	return f
}

// notMachine are the options that decide nothing about the machine, or that a [vm.Fingerprint]
// has besides: those that each guest has of its own, and the host's ends of devices. What is
// not here counts.
var notMachine = []string{"name", "uuid", "chardev", "mon", "S", "incoming", "display", "vnc", "spice", "sandbox",
	"blockdev", "tpmdev", "fsdev", "accel", "cpu"}

// notGuest are the kinds of objects that the guest knows nothing of: the host's ends.
var notGuest = []string{"secret", "throttle-group", "filter-dump"}

// own are the properties of devices that each guest has of its own, or that say what is at
// the host's end. QEMU makes no part of the machine's state of bootindex.
var own = map[string][]string{
	"device": {"mac", "guid", "guest-cid", "drive", "bootindex"},
	"netdev": {"fd", "fds", "local", "remote", "addr", "hostfwd", "restrict"},
}

// machineLine returns what an argument says about the machine; empty: nothing.
func machineLine(a argument, ram string) string {
	if slices.Contains(notMachine, a.option) {
		return ""
	}
	value := a.value
	switch a.option {
	case "object":
		var object struct {
			ID   string
			Kind string `json:"qom-type"`
		}
		if json.Unmarshal([]byte(value), &object) == nil &&
			(slices.Contains(notGuest, object.Kind) || ram != "" && object.ID == ram) {
			return ""
		}
	case "device", "netdev":
		value = withoutKeys(value, own[a.option])
	case "machine":
		value = withoutPairs(value, func(pair string) bool { return strings.HasPrefix(pair, "memory-backend=") })
	case "fw_cfg", "smbios": // files in the VM's folder, whose contents the guest has read by now
		value = withoutPairs(value, func(pair string) bool {
			return strings.HasSuffix(pair, blobSuffix) && (strings.HasPrefix(pair, "file=") || strings.HasPrefix(pair, "path="))
		})
	case "append":
		words := strings.Fields(value)
		value = strings.Join(slices.DeleteFunc(words, ownWord), " ")
	}
	return strings.TrimSpace("-" + a.option + " " + value)
}

// ownWord reports whether a word of the kernel's command line follows from the VM's name or
// its network cards' addresses.
func ownWord(word string) bool {
	return strings.HasPrefix(word, guestview.HostNameParameter) || strings.HasPrefix(word, guestview.AddressParameter)
}

// withoutKeys leaves keys out of an object in JSON. What is none, and so the user's, stays.
func withoutKeys(object string, keys []string) string {
	var p map[string]json.RawMessage
	if json.Unmarshal([]byte(object), &p) != nil {
		return object
	}
	for _, key := range keys {
		delete(p, key)
	}
	text, err := json.Marshal(p)
	if err != nil {
		return object
	}
	return string(text)
}

// splitPairs splits a value in QEMU's key=value form; see escape.
func splitPairs(value string) []string {
	const comma = "\x00" // can't be in an argument
	pairs := strings.Split(strings.ReplaceAll(value, ",,", comma), ",")
	for i, pair := range pairs {
		pairs[i] = strings.ReplaceAll(pair, comma, ",")
	}
	return pairs
}

func parsePairs(value string) map[string]string {
	found := map[string]string{}
	for _, pair := range splitPairs(value) {
		key, v, _ := strings.Cut(pair, "=")
		found[key] = v
	}
	return found
}

func withoutPairs(value string, gone func(pair string) bool) string {
	return strings.Join(slices.DeleteFunc(splitPairs(value), gone), ",")
}

// buildOf tells a QEMU's file from others of its version, with what stays when the host is
// started again or the file is copied: neither its path nor its inode. Empty: it can't be
// seen.
func buildOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("(%d bytes of %s)", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
}

// procExe leads to the file that a process runs, also when it has been replaced since (proc(5)).
func procExe(pid int) string { return fmt.Sprintf("/proc/%d/exe", pid) }

// executableOf returns the path of what a process runs; fallback where that can't be seen.
func executableOf(pid int, fallback string) string {
	path, err := os.Readlink(procExe(pid))
	if err != nil {
		return fallback
	}
	return cmp.Or(path, fallback)
}

// hostCPU names the host's processor, which a guest under KVM sees through its own model.
func hostCPU() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		// "model name" on x86 (proc_cpuinfo(5)); aarch64 has the part's number instead.
		key, value, _ := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); key == "model name" || key == "CPU part" {
			return " on " + strings.TrimSpace(value)
		}
	}
	return ""
}
