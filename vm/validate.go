package vm

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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
	v.disks(c.Disks)
	v.networks(c.Networks)
	v.devices(c)
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

// text refuses what no option of QEMU and no file name can hold.
func (v *validator) text(field, value string) bool {
	if strings.ContainsAny(value, "\x00\n\r") {
		v.add(field, value, "has a line break or a NUL character", "remove it")
		return false
	}
	return true
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

func (v *validator) disks(disks []Disk) {
	seen := map[string]int{}
	for i, d := range disks {
		field := fmt.Sprintf("disks[%d]", i)
		name := d.NameAt(i)
		v.partName(field+".name", name)
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of disks[%d]", first), "give each disk a name of its own")
		}
		seen[name] = i
		v.disk(field, d)
	}
}

func (v *validator) partName(field, name string) {
	if !partNamePattern.MatchString(name) {
		v.add(field, name, "is not a valid name", "use a letter, then at most 30 letters, digits, '.', '_' and '-'")
	}
}

func (v *validator) disk(field string, d Disk) {
	v.text(field+".path", d.Path)
	v.text(field+".base", d.Base)
	v.oneOf(field+".format", d.Format, FormatRaw, FormatQcow2)
	v.oneOf(field+".interface", d.Interface, "virtio", "nvme")
	if d.Path != "" && d.Base != "" {
		v.add(field, "", "has both a path and a base", "give path to use an image in place, base to write to an overlay")
	}
	if (d.Path != "" || d.Base != "") && d.ImageFormat() == "" {
		v.add(field+".format", "", "is not given, and the file's ending does not tell", `set it to "raw" or "qcow2"`)
	}
	if d.Path == "" && d.Base == "" && d.Size == 0 {
		v.add(field, "", "has neither a path, nor a base, nor a size", "give the image to use, or the size of a new one")
	}
	if d.Size < 0 || d.Size%512 != 0 {
		v.add(field+".size", d.Size.String(), "is not a multiple of 512 bytes", "round it, for example to MiB")
	}
	if d.Path != "" && d.Size != 0 {
		v.add(field+".size", d.Size.String(), "can't change an image that is used in place", "leave it out, or use base")
	}
	if d.ReadOnly && d.Path == "" && d.Base == "" {
		v.add(field+".read_only", "", "makes no sense for a new, empty disk", "give a path or a base")
	}
	if len(d.Serial) > 20 || strings.ContainsFunc(d.Serial, func(r rune) bool { return r < ' ' || r > '~' }) {
		v.add(field+".serial", d.Serial, "is not a serial number", "use at most 20 printable ASCII characters")
	}
}

func (v *validator) networks(nets []Network) {
	seen, taken := map[string]int{}, map[Forward]string{}
	for i, n := range nets {
		field := fmt.Sprintf("networks[%d]", i)
		name := n.NameAt(i)
		v.partName(field+".name", name)
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of networks[%d]", first), "give each network a name of its own")
		}
		seen[name] = i
		v.oneOf(field+".type", n.Type, "user")
		v.mac(field+".mac", n.MAC)
		for j, f := range n.Forwards {
			v.forward(fmt.Sprintf("%s.forwards[%d]", field, j), f, taken)
		}
	}
}

func (v *validator) mac(field, mac string) {
	if mac == "" {
		return
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		v.add(field, mac, "is not a MAC address", "write it as 52:54:00:12:34:56")
	} else if hw[0]&1 == 1 {
		v.add(field, mac, "is a multicast address", "use an even first byte")
	}
}

// forward checks f; taken has the host's sides of those before it, with their fields.
func (v *validator) forward(field string, f Forward, taken map[Forward]string) {
	side := Forward{Host: cmp.Or(f.Host, "127.0.0.1"), Port: f.Port, Proto: cmp.Or(f.Proto, "tcp")}
	if first, ok := taken[side]; ok {
		v.add(field+".port", fmt.Sprint(f.Port), "is also forwarded by "+first, "give each forward a port of its own on the host")
	}
	taken[side] = field
	for _, p := range []struct {
		name string
		port int
	}{{"port", f.Port}, {"guest", f.Guest}} {
		if p.port < 1 || p.port > 65535 {
			v.add(field+"."+p.name, fmt.Sprint(p.port), "is not a port", "use 1 to 65535")
		}
	}
	v.oneOf(field+".proto", f.Proto, "tcp", "udp")
	// QEMU 7.2 takes no IPv6 address here ("Bad host address").
	if f.Host != "" && net.ParseIP(f.Host).To4() == nil {
		v.add(field+".host", f.Host, "is not an IPv4 address", "use 127.0.0.1, or 0.0.0.0 for all of the host's addresses")
	}
}

func (v *validator) devices(c Config) {
	for i := range c.Shares {
		v.add(fmt.Sprintf("shares[%d]", i), "", "shared folders are not implemented yet", "copy files with guest.Manager.CopyTo instead")
	}
	seen := map[string]int{}
	for i, d := range c.Devices {
		field := fmt.Sprintf("devices[%d]", i)
		if !qemuNamePattern.MatchString(d.Driver) {
			v.add(field+".driver", d.Driver, "is not a device's name", "use a name from qemu-system-... -device help")
		}
		if d.ID != "" {
			v.partName(field+".id", d.ID)
			if first, ok := seen[d.ID]; ok {
				v.add(field+".id", d.ID, fmt.Sprintf("is also the ID of devices[%d]", first), "give each device an ID of its own")
			}
			seen[d.ID] = i
		}
		for _, key := range slices.Sorted(maps.Keys(d.Props)) {
			if !qemuNamePattern.MatchString(key) || key == "driver" || key == "id" {
				v.add(field+".props["+key+"]", "", "is not a property's name", "use a name from -device DRIVER,help; driver and id are fields of their own")
			}
		}
	}
	for i, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			v.add(fmt.Sprintf("args[%d]", i), a, "has a NUL character", "remove it")
		}
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
