//go:build linux

package initramfs

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/maqet/maqet/internal/artifact"
)

// Files of the archive that tell init which modules to load; the package's
// documentation has their form.
const (
	RequiredFile = "/etc/maqet/modules.required"
	AliasFile    = "/etc/maqet/modules.alias"
)

// required are the modules that init loads at once: through them the host talks to
// the guest.
var required = []string{"virtio_pci", "virtio_console"}

// onDemand are modules for the devices that QEMU has, and file systems. A kernel that
// lacks one, or has it built in, does without.
var onDemand = []string{
	"virtio_mmio",                                 // microvm
	"virtio_blk", "virtio_scsi", "nvme", "sd_mod", // disks
	"sr_mod", "ahci", // CDs, the SATA disks of q35
	"ata_piix",                // the IDE disks of pc
	"xhci_pci", "usb_storage", // USB sticks
	"virtio_net", "e1000", "e1000e", "af_packet", // network
	"virtio_balloon", "virtio_mem", "virtio_rng", "virtio_input", "virtio_pmem",
	"button", "gpio_keys", "evdev", // power button
	"xhci_pci", "usbhid", "hid_generic", // USB tablet
	"pvpanic_pci", "pvpanic_mmio", "i6300esb", "vmgenid",
	"virtiofs", "9pnet_virtio", "9p", "vmw_vsock_virtio_transport",
	"ext4", "crc32c_generic", "overlay", "loop", "isofs", "squashfs", "efivarfs",
}

// addModules adds the modules and the files that list them.
func (b Builder) addModules(t *tree, inputs *artifact.Inputs) error {
	var must, may strings.Builder
	if b.Modules != "" {
		x, err := newIndex(b.Modules, inputs)
		if err != nil {
			return invalid("read the modules in "+b.Modules, err)
		}
		if err := b.pickModules(x, &must, &may); err != nil {
			return invalid("collect modules", err)
		}
		if err := b.storeModules(t, x); err != nil {
			return err
		}
	}
	if err := t.file(RequiredFile, []byte(must.String()), 0o644); err != nil {
		return err
	}
	return t.file(AliasFile, []byte(may.String()), 0o644)
}

// pickModules loads every module that goes in and writes the lists for init.
func (b Builder) pickModules(x *index, must, may *strings.Builder) error {
	listed := map[string]bool{}
	for _, name := range required {
		mods, err := x.order(name)
		if err != nil {
			return err
		}
		for _, m := range mods {
			if !listed[m.name] {
				listed[m.name] = true
				must.WriteString(b.guestPath(m) + "\n")
			}
		}
	}
	for _, name := range onDemand {
		if !x.has(name) {
			continue
		}
		if err := b.listAliases(x, name, may); err != nil {
			return err
		}
	}
	for _, name := range b.Extra {
		if err := b.listAliases(x, normalName(name), may); err != nil {
			return err
		}
	}
	return nil
}

// listAliases writes a line for each device that a module drives.
func (b Builder) listAliases(x *index, name string, out *strings.Builder) error {
	mods, err := x.order(name)
	if err != nil || len(mods) == 0 {
		return err
	}
	driver, needed := mods[len(mods)-1], mods[:len(mods)-1]
	paths := []string{b.guestPath(driver)}
	for _, m := range needed {
		paths = append(paths, b.guestPath(m))
	}
	for _, alias := range driver.aliases {
		// Names of devices on a bus have a colon, those of file systems "fs-". Others are for
		// modprobe.
		if (strings.Contains(alias, ":") || strings.HasPrefix(alias, "fs-")) && !strings.ContainsAny(alias, " \n") {
			out.WriteString(alias + " " + strings.Join(paths, " ") + "\n")
		}
	}
	return nil
}

// storeModules adds the files of all modules that were read, and modules.dep and
// modules.alias for modprobe (modules.dep(5)).
func (b Builder) storeModules(t *tree, x *index) error {
	var dep, alias strings.Builder
	for _, name := range slices.Sorted(maps.Keys(x.loaded)) {
		m := x.loaded[name]
		if err := t.file(b.guestPath(m), m.data, 0o644); err != nil {
			return err
		}
		mods, err := x.order(name)
		if err != nil {
			return err
		}
		dep.WriteString(m.file + ":")
		for _, need := range slices.Backward(mods[:len(mods)-1]) {
			dep.WriteString(" " + need.file)
		}
		dep.WriteString("\n")
		for _, a := range m.aliases {
			alias.WriteString("alias " + a + " " + m.name + "\n")
		}
	}
	dir := path.Join("lib/modules", b.Version)
	if err := t.file(path.Join(dir, "modules.dep"), []byte(dep.String()), 0o644); err != nil {
		return err
	}
	return t.file(path.Join(dir, "modules.alias"), []byte(alias.String()), 0o644)
}

func (b Builder) guestPath(m module) string {
	return path.Join("/lib/modules", b.Version, m.file)
}
