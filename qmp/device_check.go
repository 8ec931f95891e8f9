package qmp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
)

var (
	deviceIDPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,30}$`)
	driverPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
)

const (
	maxNode   = 31  // characters of a block node's name in QEMU
	maxSerial = 20  // characters of a disk's serial number
	maxSocket = 107 // bytes of a unix socket's path on Linux
	mebibyte  = 1 << 20
)

// Validate reports everything that is wrong with the device by itself, as an
// *errors.ConfigError; nil when nothing is. It asks no QEMU and opens no file.
func (d Device) Validate() error { return d.check("") }

func (d Device) check(ref string) error {
	c := &deviceCheck{}
	c.device(d)
	c.props(d)
	c.parts(d)
	if len(c.problems) == 0 {
		return nil
	}
	return &errors.ConfigError{VM: ref, Problems: c.problems}
}

type deviceCheck struct{ problems []errors.Problem }

func (c *deviceCheck) add(field, value, message, fix string) {
	c.problems = append(c.problems, errors.Problem{Field: "device." + field, Value: value, Message: message, Fix: fix})
}

func (c *deviceCheck) device(d Device) {
	switch {
	case !deviceIDPattern.MatchString(d.ID):
		c.add("id", d.ID, "is not a valid name", "use a letter, then at most 30 letters, digits, '.', '_' and '-'")
	case d.Disk != nil && len(fileNode(d.ID)) > maxNode:
		c.add("id", d.ID, "is too long for a disk", fmt.Sprintf("use at most %d characters", maxNode-len(fileNode(""))))
	}
	if d.Driver != "" && !driverPattern.MatchString(d.Driver) {
		c.add("driver", d.Driver, "is not a driver's name", "use a name from qemu-system-... -device help")
	}
	if strings.ContainsFunc(d.Bus, func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.add("bus", d.Bus, "is not a bus's name", "use a name such as port0 or virtio-serial.0, or leave it out")
	}
	parts := 0
	for _, given := range []bool{d.Disk != nil, d.NIC != nil, d.Serial != nil, d.RNG != nil, d.Memory != nil, d.CPU != nil} {
		if given {
			parts++
		}
	}
	if parts > 1 {
		c.add("id", d.ID, "has more than one part", "plug each of disk, nic, serial, rng, memory and cpu as a device of its own")
	}
	if parts == 0 && d.Driver == "" {
		c.add("driver", "", "is missing", "give it, or one of disk, nic, serial, rng, memory and cpu")
	}
}

// props refuses what would say otherwise what other fields say.
func (c *deviceCheck) props(d Device) {
	taken := map[string]any{"bus": nil}
	bare := d
	bare.Props = nil
	if parts := bare.Parts(); d.ID != "" {
		maps.Copy(taken, parts[len(parts)-1].Args)
	}
	delete(taken, "romfile") // a default, not a field
	for _, key := range slices.Sorted(maps.Keys(d.Props)) {
		field := "props[" + key + "]"
		if !driverPattern.MatchString(key) {
			c.add(field, "", "is not a property's name", "use a name from qemu-system-... -device DRIVER,help")
		} else if _, own := taken[key]; own {
			c.add(field, "", "is set by a field of the device", "remove it from props, and set the field")
		} else if _, err := json.Marshal(d.Props[key]); err != nil {
			c.add(field, "", "has a value that JSON can't express: "+err.Error(), "use a text, a number or a truth value")
		}
	}
}

func (c *deviceCheck) parts(d Device) {
	switch {
	case d.Disk != nil:
		c.disk(*d.Disk)
	case d.NIC != nil:
		c.nic(*d.NIC)
	case d.Serial != nil:
		c.serialPort(*d.Serial)
	case d.Memory != nil && (d.Memory.Size <= 0 || d.Memory.Size%mebibyte != 0):
		c.add("memory.size", fmt.Sprint(d.Memory.Size), "is not a positive number of whole MiB",
			"give it in bytes, for example 128 << 20")
	}
}

func (c *deviceCheck) disk(d Disk) {
	c.path("disk.path", d.Path)
	if d.Format != "raw" && d.Format != "qcow2" {
		c.add("disk.format", d.Format, "is not a format", `set it to "raw" or "qcow2"; it is never probed`)
	}
	c.oneOf("disk.interface", d.Interface, DiskVirtio, DiskSCSI, DiskNVMe, DiskUSB)
	if len(d.Serial) > maxSerial || strings.ContainsFunc(d.Serial, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.add("disk.serial", d.Serial, "is not a serial number", "use at most 20 printable ASCII characters")
	}
}

func (c *deviceCheck) nic(n NIC) {
	if n.MAC != "" {
		hw, err := net.ParseMAC(n.MAC)
		if err != nil || len(hw) != 6 {
			c.add("nic.mac", n.MAC, "is not a MAC address", "write it as 52:54:00:12:34:56")
		} else if hw[0]&1 == 1 {
			c.add("nic.mac", n.MAC, "is a multicast address", "use an even first byte")
		}
	}
	seen := map[Forward]int{}
	for i, f := range n.Forwards {
		field := fmt.Sprintf("nic.forwards[%d]", i)
		for _, p := range []struct {
			name string
			port int
		}{{"port", f.Port}, {"guest", f.Guest}} {
			if p.port < 1 || p.port > 65535 {
				c.add(field+"."+p.name, fmt.Sprint(p.port), "is not a port", "use 1 to 65535")
			}
		}
		c.oneOf(field+".proto", f.Proto, "tcp", "udp")
		if f.Host != "" && net.ParseIP(f.Host).To4() == nil { // QEMU 7.2 takes no IPv6 address here
			c.add(field+".host", f.Host, "is not an IPv4 address", "use 127.0.0.1, or 0.0.0.0 for all of the host's addresses")
		}
		side := Forward{Host: cmp.Or(f.Host, "127.0.0.1"), Port: f.Port, Proto: cmp.Or(f.Proto, "tcp")}
		if first, ok := seen[side]; ok {
			c.add(field+".port", fmt.Sprint(f.Port), fmt.Sprintf("is also forwarded by nic.forwards[%d]", first), "give each forward a port of its own on the host")
		}
		seen[side] = i
	}
}

func (c *deviceCheck) serialPort(s SerialPort) {
	if s.Name == "" || len(s.Name) > 255 || strings.ContainsFunc(s.Name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		c.add("serial.name", s.Name, "is not a port's name", "use printable ASCII characters without spaces and '/', such as org.example.log")
	}
	if s.Socket != "" && s.File != "" {
		c.add("serial", "", "has both a socket and a file", "give one of them")
	}
	if s.Socket != "" {
		c.path("serial.socket", s.Socket)
	}
	if len(s.Socket) > maxSocket {
		c.add("serial.socket", s.Socket, fmt.Sprintf("is longer than %d bytes", maxSocket), "use a shorter path")
	}
	if s.File != "" {
		c.path("serial.file", s.File)
	}
}

func (c *deviceCheck) path(field, path string) {
	switch {
	case strings.ContainsAny(path, "\x00\n\r"):
		c.add(field, path, "has a line break or a NUL character", "remove it")
	case !filepath.IsAbs(path):
		c.add(field, path, "is not an absolute path", "begin it with '/': QEMU has a working folder of its own")
	}
}

func (c *deviceCheck) oneOf(field, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.add(field, value, "is not known", "use "+strings.Join(allowed, ", "))
	}
}
