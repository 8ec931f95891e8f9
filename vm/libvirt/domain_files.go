package libvirt

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/qemuarg"
	"github.com/maqet/maqet/vm"
)

// absolute returns a path that means the same wherever QEMU runs.
func (c *creator) absolute(field, path string) string {
	c.text(field, path)
	if filepath.IsAbs(path) {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil { // the working folder is gone
		c.problem(field, path, err.Error(), "give an absolute path")
	}
	return abs
}

// thisHost refuses a path of this host's for guests that run on another.
func (c *creator) thisHost(field, path string) {
	if !c.host.sameHost {
		c.problem(field, path, "is on this host, and the guest runs on another", "leave it out")
	}
}

// output returns the path of a file of this host that libvirt appends to for a guest; it makes
// one with mode 0600.
func (c *creator) output(field, path string) string {
	c.thisHost(field, path)
	path = c.absolute(field, path)
	if !c.host.sameHost {
		return path
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		c.problem(field, path, "is not a regular file", "give the path of one, or of one to make in a folder that exists")
	}
	return path
}

// shares adds the shared folders.
func (c *creator) shares() {
	for i, s := range c.spec.Config.Shares {
		field := fmt.Sprintf("shares[%d]", i)
		c.thisHost(field+".path", s.Path)
		fs := libvirtxml.DomainFilesystem{AccessMode: "passthrough", Alias: alias(fmt.Sprint("share", i)), Address: c.pci(field),
			Target: &libvirtxml.DomainFilesystemTarget{Dir: c.text(field+".name", s.NameAt(i))},
			Source: &libvirtxml.DomainFilesystemSource{Mount: &libvirtxml.DomainFilesystemSourceMount{Dir: c.sharedFolder(field+".path", s.Path)}}}
		if c.shareType(s) == vm.ShareVirtiofs {
			c.virtiofs(field, s, &fs)
		} else {
			c.plan9(field, i, s, &fs)
		}
		c.dev.Filesystems = append(c.dev.Filesystems, fs)
	}
}

func (c *creator) sharedFolder(field, path string) string {
	path = c.absolute(field, path)
	if !c.host.sameHost {
		return path
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		c.problem(field, path, "is not a folder", "give the path of an existing folder")
	}
	return path
}

// shareType is a share's type, chosen where the configuration does not say.
func (c *creator) shareType(s vm.Share) string {
	switch {
	case s.Type != "":
		return s.Type
	case c.host.caps.virtiofs && s.Writable && !c.host.inPlace:
		return vm.ShareVirtiofs
	default:
		return vm.Share9p
	}
}

// virtiofs is served by the program virtiofsd, which libvirt runs, and which has to see the
// guest's memory.
func (c *creator) virtiofs(field string, s vm.Share, fs *libvirtxml.DomainFilesystem) {
	switch {
	case c.host.inPlace:
		c.problem(field+".type", s.Type, "can't be had from a session's libvirt", "use qemu:///system, or the type 9p with a kernel that has it")
	case !c.host.caps.virtiofs:
		c.problem(field+".type", s.Type, "can't be had: the host's QEMU has it not", "use the type 9p with a kernel that has it")
	case strings.ContainsRune(s.Path, ','):
		c.problem(field+".path", s.Path, "has a comma, which libvirt 9.0 passes to virtiofsd as the end of the path", "share a folder without, or use the type 9p")
	case !s.Writable:
		c.problem(field+".writable", "false", "can't be had of virtiofs: libvirt 9.0 shares folders writable only", "set it, or use the type 9p with a kernel that has it")
	}
	if largest := c.spec.Config.MaxMemory; largest > 0 {
		c.problem("max_memory", largest.String(), "can't be had with "+field+": virtiofsd does not see memory that is plugged", "leave it out, or use the share type 9p")
	}
	fs.Driver = &libvirtxml.DomainFilesystemDriver{Type: "virtiofs"}
	c.dom.MemoryBacking = &libvirtxml.DomainMemoryBacking{MemorySource: &libvirtxml.DomainMemorySource{Type: "memfd"},
		MemoryAccess: &libvirtxml.DomainMemoryAccess{Mode: "shared"}}
}

// accessModes are libvirt's names of 9p's security models (formatdomain, "Filesystems").
var accessModes = map[string]string{"none": "squash", "mapped-xattr": "mapped", "passthrough": "passthrough"}

// maxTag9p is QEMU's limit in bytes (hw/9pfs/9p.h, MAX_TAG_LEN).
const maxTag9p = 31

// plan9 is served by QEMU itself.
func (c *creator) plan9(field string, i int, s vm.Share, fs *libvirtxml.DomainFilesystem) {
	if name := s.NameAt(i); len(name) > maxTag9p {
		c.problem(field+".name", name, fmt.Sprintf("has %d bytes, the tag of a 9p share may have %d", len(name), maxTag9p), "shorten it")
	}
	mode, known := accessModes[cmp.Or(s.Security, "none")]
	if !known {
		c.problem(field+".security", s.Security, "can't be had: libvirt has no such mode", `use "none", "mapped-xattr" or "passthrough"`)
	}
	fs.AccessMode, fs.MultiDevs = mode, "remap" // files of several file systems must not look like one
	if !s.Writable {
		fs.ReadOnly = &libvirtxml.DomainFilesystemReadOnly{}
	}
}

// blobs adds what the guest reads from fw_cfg and SMBIOS.
func (c *creator) blobs() {
	cfg := c.spec.Config
	names := map[string]string{"ignition": guestview.IgnitionBlob}
	for i, f := range cfg.FwCfg {
		names[fmt.Sprintf("fw_cfg[%d]", i)] = f.Name
	}
	fw, oem := &libvirtxml.DomainSysInfoFWCfg{}, "type=11"
	for _, b := range blobsOf(cfg) {
		path := c.blobPath(b)
		if name, ok := names[b.field]; ok {
			fw.Entry = append(fw.Entry, libvirtxml.DomainSysInfoEntry{Name: c.text(b.field, name), File: path})
		} else {
			oem += ",path=" + qemuarg.Escape(path)
		}
	}
	if len(fw.Entry) > 0 {
		c.dom.SysInfo = append(c.dom.SysInfo, libvirtxml.DomainSysInfo{FWCfg: fw})
	}
	c.smbios(oem)
}

// blobPath returns where the file of a blob is on the host.
func (c *creator) blobPath(b blob) string {
	if b.file != "" { // this host's, from where it is copied to another
		if err := guestview.RegularFile(b.file); err != nil {
			c.problem(b.field, b.file, err.Error(), "give the path of a readable file")
		}
	}
	switch path := c.host.blobs[b.field]; {
	case path != "":
		return c.text(b.field, path)
	case b.file != "" && c.host.inPlace:
		return c.absolute(b.field, b.file)
	}
	c.problem(b.field, b.file, "could not be put on the guest's host", "leave it out")
	return ""
}

// smbios adds the tables of type 1 and 11. libvirt would have the strings of the latter on
// QEMU's command line.
func (c *creator) smbios(oem string) {
	s := c.spec.Config.SMBIOS
	system := &libvirtxml.DomainSysInfoSystem{}
	for _, f := range [][2]string{{"manufacturer", s.Manufacturer}, {"product", s.Product}, {"version", s.Version},
		{"serial", s.Serial}, {"sku", s.SKU}, {"family", s.Family}} {
		if f[1] != "" {
			system.Entry = append(system.Entry, libvirtxml.DomainSysInfoEntry{Name: f[0], Value: c.text("smbios."+f[0], f[1])})
		}
	}
	if (len(system.Entry) > 0 || len(s.OEMStrings) > 0) && c.host.arch == "riscv64" {
		c.problem("smbios", "", "can't be had on machine "+c.host.machine, "leave it out, or use fw_cfg")
	}
	if len(system.Entry) > 0 {
		c.dom.OS.SMBios = &libvirtxml.DomainSMBios{Mode: "sysinfo"}
		c.dom.SysInfo = append(c.dom.SysInfo, libvirtxml.DomainSysInfo{SMBIOS: &libvirtxml.DomainSysInfoSMBIOS{System: system}})
	}
	if len(s.OEMStrings) > 0 {
		c.raw = append(c.raw, "-smbios", oem)
	}
}
