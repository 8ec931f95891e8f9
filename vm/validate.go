package vm

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
)

var (
	namePattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	partNamePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,30}$`)
	qemuNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
)

// Architectures that a Config can name, by QEMU's names.
var architectures = []string{"x86_64", "aarch64", "riscv64"}

// Validate reports everything that is wrong with the configuration by itself, all at
// once, as an *errors.ConfigError; nil when nothing is. It reads no files: what does
// not exist on this host is found when the VM starts.
func (c Config) Validate() error {
	v := &validator{}
	v.identity(c)
	v.cpu(c.CPU)
	v.memory(c.Memory)
	v.headroom(c)
	v.boot(c.Boot)
	if len(c.Boot.Files) > 0 && !c.DefaultInitrd() {
		v.add("boot.files", "", "would be in no guest: they are added to the default guest's initrd, which this VM does not have",
			`leave it out, or set kernel and initrd to "auto"`)
	}
	v.firmware(c)
	v.disks(c.Disks)
	v.networks(c.Networks)
	v.bootOrder(c)
	v.shares(c.Shares)
	v.devices(c)
	v.hardware(c)
	v.tpm(c.TPM)
	v.serials(c.Serials)
	v.display(c.Display)
	v.cloudInit(c.CloudInit)
	v.blobs(c)
	v.args(c.Args)
	v.timeouts(c.Timeouts)
	if len(v.problems) == 0 {
		return nil
	}
	return &errors.ConfigError{VM: c.Name, Problems: v.problems}
}

type validator struct {
	problems []errors.Problem
}

func (v *validator) add(field, value, message, fix string) {
	v.problems = append(v.problems, errors.Problem{Field: field, Value: value, Message: message, Fix: fix})
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		v.add(field, value, "is not known", "use "+strings.Join(allowed, ", "))
	}
}

// text refuses what no option of QEMU, or no file of a person's, holds: what is not UTF-8
// would be another text in JSON.
func (v *validator) text(field, value string) bool {
	switch {
	case strings.ContainsAny(value, "\x00\n\r"):
		v.add(field, value, "has a line break or a NUL character", "remove it")
	case !utf8.ValidString(value):
		v.add(field, value, "is not UTF-8", "write it in UTF-8, or rename the file")
	default:
		return true
	}
	return false
}

// utf8 refuses what would be another text in the VM's record, which is JSON.
func (v *validator) utf8(field, value string) {
	if !utf8.ValidString(value) {
		v.add(field, value, "is not UTF-8", "write it in UTF-8, or give it in a file")
	}
}

func (v *validator) identity(c Config) {
	if c.Name != "" {
		v.name(c.Name)
	}
	v.oneOf("arch", c.Arch, architectures...)
	v.oneOf("accel", c.Accel, "auto", "kvm", "tcg")
	v.oneOf("lifetime", string(c.Lifetime), string(Ephemeral), string(Persistent))
	if c.Machine != "" && !qemuNamePattern.MatchString(c.Machine) {
		v.add("machine", c.Machine, "is not a machine type", "give only its name, such as q35; properties go to args")
	}
	if c.Backend != "" && !qemuNamePattern.MatchString(c.Backend) {
		v.add("backend", c.Backend, "is not a backend's name", "use process, or a backend that was configured")
	}
	v.text("binary", c.Binary)
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		v.text("labels["+k+"]", k+c.Labels[k])
	}
}

func (v *validator) name(name string) {
	const fix = "use a letter or digit, then at most 62 letters, digits, '.', '_' and '-'"
	switch _, err := uuid.Parse(name); {
	case err == nil:
		v.add("name", name, "looks like an ID", "use a name that is not a UUID")
	case !namePattern.MatchString(name):
		v.add("name", name, "is not a valid name", fix)
	}
}

func (v *validator) cpu(c CPU) {
	for _, n := range []struct {
		field string
		n     int
	}{{"count", c.Count}, {"sockets", c.Sockets}, {"cores", c.Cores}, {"threads", c.Threads}} {
		if n.n < 0 || n.n > 4096 {
			v.add("cpu."+n.field, fmt.Sprint(n.n), "is out of range", "use 1 to 4096, or leave it out")
			return
		}
	}
	if c.Vcpus() > 4096 {
		v.add("cpu", fmt.Sprint(c.Vcpus()), "is more than 4096 CPUs", "use fewer sockets, cores or threads")
	}
	product := max(c.Sockets, 1) * max(c.Cores, 1) * max(c.Threads, 1)
	if c.Count != 0 && (c.Sockets != 0 || c.Cores != 0 || c.Threads != 0) && c.Count != product {
		v.add("cpu.count", fmt.Sprint(c.Count),
			fmt.Sprintf("differs from sockets x cores x threads, which is %d", product), "leave count out, or make them equal")
	}
	if c.Model != "" && strings.ContainsAny(c.Model, " \t\n\r\x00") {
		v.add("cpu.model", c.Model, "has white space", `write QEMU's form: "max" or "Nehalem,+aes"`)
	}
}

// Vcpus returns the number of virtual CPUs: Count, or the product of the topology.
func (c CPU) Vcpus() int {
	if c.Count > 0 {
		return c.Count
	}
	return max(c.Sockets, 1) * max(c.Cores, 1) * max(c.Threads, 1)
}

func (v *validator) memory(m Size) {
	switch {
	case m == 0:
	case m < MiB:
		v.add("memory", m.String(), "is less than 1 MiB", `the number is in bytes: write 512 * vm.MiB in Go, "512M" in YAML`)
	case m%MiB != 0:
		v.add("memory", m.String(), "is not a whole number of MiB", "round it to MiB")
	case m > 16*TiB:
		v.add("memory", m.String(), "is more than 16 TiB", "use less")
	}
}

// headroom checks what can be plugged later.
func (v *validator) headroom(c Config) {
	if c.HotplugPorts < -1 || c.HotplugPorts > 32 {
		v.add("hotplug_ports", fmt.Sprint(c.HotplugPorts), "is out of range", "use 1 to 32, -1 for none, or leave it out")
	}
	switch m := c.MaxMemory; {
	case m == 0:
	case m%MiB != 0 || m > 16*TiB:
		v.add("max_memory", m.String(), "is not a whole number of MiB up to 16 TiB", `write 4 * vm.GiB in Go, "4G" in YAML`)
	case m < cmp.Or(c.Memory, DefaultMemory):
		v.add("max_memory", m.String(), "is less than memory", "leave it out, or make it larger")
	}
	switch unit := max(c.CPU.Cores, 1) * max(c.CPU.Threads, 1); {
	case c.CPU.Max == 0:
	case c.CPU.Max < c.CPU.Vcpus() || c.CPU.Max > 4096:
		v.add("cpu.max", fmt.Sprint(c.CPU.Max), "is less than the number of CPUs, or more than 4096", "leave it out, or make it larger")
	case c.CPU.Max%unit != 0:
		v.add("cpu.max", fmt.Sprint(c.CPU.Max), fmt.Sprintf("is not a multiple of cores x threads, which is %d", unit), "round it up")
	}
}

func (v *validator) boot(b Boot) {
	v.text("boot.kernel", b.Kernel)
	v.text("boot.initrd", b.Initrd)
	v.text("boot.firmware", b.Firmware)
	v.text("boot.modules", b.Modules)
	if v.text("boot.cmdline", b.Cmdline) && len(b.Cmdline) > 1900 {
		v.add("boot.cmdline", b.Cmdline, fmt.Sprintf("has %d characters, the kernel takes 2047 in all", len(b.Cmdline)), "shorten it")
	}
	for _, inGuest := range slices.Sorted(maps.Keys(b.Files)) {
		onHost := b.Files[inGuest]
		field := "boot.files[" + inGuest + "]"
		if !filepath.IsAbs(inGuest) || filepath.Clean(inGuest) != inGuest || inGuest == "/" {
			v.add(field, inGuest, "is not a clean absolute path", "write it as /folder/file")
		}
		if onHost == "" {
			v.add(field, "", "has no file of the host", "give the path of a file")
		}
		v.text(field, inGuest+onHost)
	}
}

func (v *validator) partName(field, name string) {
	if !partNamePattern.MatchString(name) {
		v.add(field, name, "is not a valid name", "use a letter, then at most 30 letters, digits, '.', '_' and '-'")
	}
}

func (v *validator) timeouts(t Timeouts) {
	for _, d := range []struct {
		name string
		d    Duration
	}{{"launch", t.Launch}, {"ready", t.Ready}, {"silence", t.Silence}, {"stop", t.Stop}} {
		if d.d < 0 {
			v.add("timeouts."+d.name, d.d.String(), "is negative", "use a positive time, or 0 for the default")
		}
	}
}

func (v *validator) args(args []string) {
	for i, a := range args {
		if strings.ContainsRune(a, 0) {
			v.add(fmt.Sprintf("args[%d]", i), a, "has a NUL character", "remove it")
		}
		v.utf8(fmt.Sprintf("args[%d]", i), a)
	}
}
