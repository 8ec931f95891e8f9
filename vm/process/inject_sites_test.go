package process

import (
	"cmp"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// nasty are texts that end a value, or begin something else, in one of the languages
// that a path or name passes through on its way into QEMU.
var nasty = map[string]string{
	"comma":          "a,b",
	"option":         ",id=evil,readonly=on",
	"commas":         "a,,b,",
	"equals":         "file=x",
	"quotes":         `a"b'c`,
	"JSON":           `","driver":"null-co","x":"`,
	"spaces":         " a  b ",
	"unicode":        "über ☃",
	"bad UTF-8":      "a\xff\xc3b",
	"dash":           "-S",
	"dashes":         "--daemonize",
	"backslash":      `a\b\n`,
	"escape":         `\u0022,\ufffd`,
	"percent":        "100%s%n",
	"shell":          "$(id)`id`;id",
	"protocol":       "nbd:unix:x",
	"json:":          `json:{"driver":"null-co"}`,
	"file:":          "file:///etc/passwd",
	"colon":          "a:b",
	"newline":        "a\nb",
	"return":         "a\rb",
	"tab":            "a\tb",
	"NUL":            "a\x00b",
	"up":             "../../up",
	"wildcard":       "*?[a]#!~",
	"variable":       "${HOME}",
	"HTML":           "<&>\u2028",
	"300 characters": strings.Repeat("n", 150) + strings.Repeat("f", 150),
}

// site is what a text needs to get from its field to QEMU, besides what fill adds.
type site struct {
	rest   func(*vm.Config)                   // sets what else the field needs, if anything
	item   int                                // of the field's list, so that sites can be in one Config
	file   func(t *testing.T, path string)    // makes the file that the text names, if it names one
	prefix string                             // what a value that is no path has to begin with
	clean  bool                               // the arguments have the shortest form of the path
	shown  func(value string) (seenAs string) // how QEMU shows it; nil: as it is
	// unseen is why QEMU does not show it. It starts with it all the same, and makes nothing
	// of it that was not asked for.
	unseen string
	// untried is why no QEMU is started with it.
	untried string
}

const (
	forGuest = "only the guest can see it; TestSeedAndBlobs of the root package looks there"
	readOnce = "read at the start and closed; without it QEMU would not start"
)

// sites are the fields that need something. One without a site is tested as it is.
var sites = map[string]site{
	"binary":        {file: linkToQEMU, shown: filepath.Clean},
	"cpu.model":     {untried: "QEMU knows no such model; what follows a comma are properties, by design"},
	"boot.kernel":   {file: fakeKernel},
	"boot.initrd":   {file: fileOf(512), rest: withKernel},
	"boot.cmdline":  {rest: withKernel, shown: func(v string) string { return "console=ttyS0 " + v }},
	"boot.firmware": {file: fileOf(64 << 10)},
	"boot.nvram": {file: fileOf(64 << 10), rest: func(c *vm.Config) { c.Boot.Firmware = vm.FirmwareUEFI },
		untried: "it needs boot.firmware, which is tried; TestQEMUTakesTexts has it as disks[].path"},
	"disks[].path":     {file: fileOf(1 << 20), rest: func(c *vm.Config) { c.Disks[0].Format = vm.FormatRaw }},
	"disks[].base":     {item: 1, file: fileOf(1 << 20), shown: filepath.Clean, rest: func(c *vm.Config) { c.Disks[1].Format = vm.FormatRaw }},
	"disks[].key_file": {item: 3, file: keyFile},
	"disks[].serial": {item: 2, rest: func(c *vm.Config) {
		c.Disks[2].Size, c.Disks[2].Interface = vm.MiB, vm.InterfaceNVMe
	}},
	"networks[].model":     {untried: "QEMU knows no such card"},
	"networks[].segment":   {rest: ofType(vm.NetworkSegment)},
	"networks[].interface": {rest: ofType(vm.NetworkTap)},
	"networks[].address":   {rest: ofType(vm.NetworkNone)},
	"shares[].path":        {file: folder, clean: true, shown: filepath.Clean},
	"shares[].name":        {item: 1},
	"shares[].mount":       {prefix: "/"},
	"devices[].driver":     {item: 1, untried: "QEMU knows no such driver"},
	"devices[].props{key}": {item: 2, rest: func(c *vm.Config) { c.Devices[2].Driver = "virtio-rng-pci" }, untried: "it knows no such property"},
	"devices[].props{value}": {rest: func(c *vm.Config) {
		c.Devices[0].Driver = "virtserialport"
		c.Devices[0].Props["bus"] = virtioSerial + ".0"
	}},
	"serials[].file":   {item: 1, file: fileOf(1), shown: filepath.Clean},
	"serials[].socket": {item: 2, file: deadSocket, shown: func(v string) string { return "disconnected:unix:" + v + ",server=on" }},
	"rng.source":       {file: fileOf(1)},

	"cloud_init.users[].shell": {prefix: "/"},
	"cloud_init.files[].path":  {prefix: "/"},
	"ignition":                 {file: fileOf(1), unseen: readOnce},
	"fw_cfg[].name":            {prefix: "opt/", unseen: forGuest},
	"fw_cfg[].file":            {item: 1, file: fileOf(1), unseen: readOnce},
	"smbios.manufacturer":      {unseen: forGuest},
	"smbios.product":           {unseen: forGuest},
	"smbios.version":           {unseen: forGuest},
	"smbios.serial":            {unseen: forGuest},
	"smbios.sku":               {unseen: forGuest},
	"smbios.family":            {unseen: forGuest},
}

// without are the fields whose texts do not get into QEMU's arguments, with the reason; a
// name stands for all below it. What is here and gets there all the same is a failure.
var without = map[string]string{
	"arch":         "one of a few",
	"accel":        "one of a few",
	"lifetime":     "one of a few",
	"machine":      "looked up among those that QEMU lists",
	"backend":      "looked up among those that were configured",
	"binary":       "executed, not an argument",
	"boot.modules": "goes into the initial RAM disk",
	"boot.files":   "goes into the initial RAM disk",
	"args":         "QEMU's own arguments, by design",
	"labels":       "only compared",

	"serials[].type":     "one of a few",
	"display":            "some of a few, and a file whose first line goes to QEMU by QMP",
	"watchdog":           "some of a few",
	"generation_id":      "refused unless it is a UUID",
	"networks[].capture": "opened here, QEMU gets a descriptor; see TestCaptureIsANewFile",
	"shares[].mount":     "for maqet's own init only, as words; see TestShareWords",
	"tpm":                "some of a few",

	"cloud_init":           "goes into the seed, in JSON; see TestSeed of package vm, and TestNoInjectionBySeed for the seed itself",
	"fw_cfg[].text":        "goes into a file; see TestNoInjectionBySeed",
	"smbios.oem_strings[]": "goes into a file; see TestNoInjectionBySeed",
}

// withoutReason finds the entry of without that stands for the field.
func withoutReason(path string) (name, reason string) {
	for name, reason := range without {
		if rest, below := strings.CutPrefix(path, name); below && (rest == "" || strings.ContainsRune(".[{", rune(rest[0]))) {
			return name, reason
		}
	}
	return "", ""
}

// anyKernel stands for one that is not what is tested.
const anyKernel = "kernel"

func withKernel(c *vm.Config) { c.Boot.Kernel = cmp.Or(c.Boot.Kernel, anyKernel) }

// value is what to put into the field for a text: for a path one below dir.
func (s site) value(dir, text string) string {
	if s.file == nil {
		return s.prefix + text
	}
	if len(text) > 255 { // more than a file's name can have
		text = text[:len(text)/2] + "/" + text[len(text)/2:]
	}
	return dir + "/a/b/" + text
}

// place makes the file that the value names. It reports whether there can be such a file.
func (s site) place(t *testing.T, value string) bool {
	t.Helper()
	if s.file == nil {
		return true
	}
	if strings.ContainsRune(value, 0) {
		return false
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Clean(value)), 0o700))
	require.NoError(t, os.MkdirAll(value[:strings.LastIndexByte(value, '/')], 0o700))
	s.file(t, value)
	return true
}

func fileOf(size int) func(*testing.T, string) {
	return func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600)) }
}

// keyText is what keyFile writes.
const keyText = "key"

func keyFile(t *testing.T, path string) {
	require.NoError(t, os.WriteFile(path, []byte(keyText), 0o600))
}

func folder(t *testing.T, path string) { require.NoError(t, os.MkdirAll(path, 0o700)) }

// ofType makes a network one of another type.
func ofType(kind string) func(*vm.Config) {
	return func(c *vm.Config) { c.Networks[0].Type = kind }
}

// deadSocket is a socket that nobody listens on, which QEMU replaces.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		return // it is too long, and refused
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
}

func linkToQEMU(t *testing.T, path string) {
	binary, err := findBinary(vm.Config{}, "x86_64")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(binary, path))
}

// fakeKernel is a file that QEMU takes for a Linux kernel (Linux,
// Documentation/arch/x86/boot.rst). It never runs.
func fakeKernel(t *testing.T, path string) {
	t.Helper()
	image := make([]byte, 8192)
	image[0x1f1] = 4 // sectors of set-up code
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x0206) // protocol
	image[0x211] = 1                                     // loaded high
	binary.LittleEndian.PutUint32(image[0x22c:], 0x37ffffff)
	binary.LittleEndian.PutUint32(image[0x238:], 2047) // longest command line
	require.NoError(t, os.WriteFile(path, image, 0o600))
}
