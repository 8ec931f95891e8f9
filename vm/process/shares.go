package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// shares adds the shared folders.
func (b *builder) shares() {
	for i, s := range b.spec.Config.Shares {
		field := fmt.Sprintf("shares[%d]", i)
		dir, err := sharedFolder(s.Path)
		if err != nil {
			b.problem(field+".path", s.Path, err.Error(), "give the path of an existing folder")
		}
		if b.shareType(s) == vm.ShareVirtiofs {
			b.virtiofs(field, i, s, dir)
		} else {
			b.plan9(field, i, s, dir)
		}
	}
}

// sharedFolder returns the absolute path of a folder that this process can look into.
func sharedFolder(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() {
		err = errors.New("is not a folder")
	}
	if err == nil {
		err = unix.Access(abs, unix.R_OK|unix.X_OK)
	}
	return abs, err
}

// shareType is a share's type, chosen where the configuration does not say.
func (b *builder) shareType(s vm.Share) string {
	switch {
	case s.Type != "":
		return s.Type
	case b.host.virtiofsd.refuses(s.Writable) == nil:
		return vm.ShareVirtiofs
	default:
		return vm.Share9p
	}
}

// needsSharedMemory reports whether a program besides QEMU works in the guest's memory.
func (b *builder) needsSharedMemory() bool {
	return slices.ContainsFunc(b.spec.Config.Shares, func(s vm.Share) bool { return b.shareType(s) == vm.ShareVirtiofs })
}

func shareID(i int) string { return "share" + strconv.Itoa(i) }

// virtiofs adds a share that virtiofsd serves.
func (b *builder) virtiofs(field string, i int, s vm.Share, dir string) {
	d := b.host.virtiofsd
	if err := d.refuses(s.Writable); err != nil {
		b.problem(field+".type", s.Type, err.Error(), "install virtiofsd, or use the type 9p with a kernel that has it")
		return
	}
	if b.spec.Config.MaxMemory > 0 {
		b.problem("max_memory", b.spec.Config.MaxMemory.String(), "can't be had with "+field+": virtiofsd does not see memory that is plugged",
			"leave it out, or use the share type 9p")
	}
	id := shareID(i)
	plan := d.plan(dir, s.Writable)
	plan.name, plan.log = "virtiofsd "+s.NameAt(i), "virtiofsd"+strconv.Itoa(i)
	fd := b.helper(plan)
	b.add(keyed("chardev", id, field, "", "socket", "id", id, "fd", fd))
	b.json("device", id, field, props{"driver": b.onBus("vhost-user-fs"), "id": id, "chardev": id, "tag": s.NameAt(i)})
}

// plan9 adds a share that QEMU serves itself.
func (b *builder) plan9(field string, i int, s vm.Share, dir string) {
	id, name := shareID(i), s.NameAt(i)
	if len(name) > maxTag9p {
		b.problem(field+".name", name, fmt.Sprintf("has %d bytes, the tag of a 9p share may have %d", len(name), maxTag9p), "shorten it")
	}
	security := s.Security
	if security == "" {
		security = "none"
	}
	readOnly := "on"
	if s.Writable {
		readOnly = "off"
	}
	// remap: files of several file systems below the folder must not look like one.
	b.add(keyed("fsdev", id, field, "", "local", "id", id, "path", dir, "security_model", security,
		"readonly", readOnly, "multidevs", "remap"))
	b.json("device", id, field, props{"driver": b.virtio("9p"), "id": id, "fsdev": id, "mount_tag": name})
}

// maxTag9p is QEMU's limit in bytes (hw/9pfs/9p.h, MAX_TAG_LEN).
const maxTag9p = 31

// onBus returns the name of a device that exists for each bus of virtio.
func (b *builder) onBus(name string) string {
	if b.host.microvm() {
		return name + "-device"
	}
	return name + "-pci"
}
