package snapshot

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// mountsLimit is how long the guest's agent may take to tell what is mounted.
const mountsLimit = 2 * time.Second

const fixDevice = "remove the device, or make the snapshot without memory (DiskOnly), or while the VM is not live"

// memory says what keeps a live VM from being saved with its memory.
func (s *search) memory(ctx context.Context, images []vm.Image) error {
	for _, img := range images {
		if img.Format != storage.FormatQcow2 {
			s.add(img.Name, "is "+img.Format+", and only qcow2 images hold snapshots", fixRawLive)
		}
		// QEMU 7.2 aborts when it saves memory into an encrypted image (qcow2_co_encdec, whose
		// length is no multiple of a sector), and elsewhere it would lie open, with the key in it.
		if s.encrypted(img.Name) {
			s.add(img.Name, "is encrypted, and QEMU can't save memory encrypted", fixEncrypted)
		}
	}
	guest, err := s.vms.Live(ctx, s.inst.ID)
	if err != nil {
		return err
	}
	if err := s.strangers(ctx, guest.QMP(), images); err != nil {
		return err
	}
	info, err := qapi.QueryMigrate(ctx, guest.QMP())
	if err != nil || len(info.BlockedReasons) == 0 {
		return err
	}
	s.unsaved(ctx, info.BlockedReasons)
	return nil
}

// unsaved names the devices whose state QEMU can't save. It says why, but in words for people:
// so they are quoted, and the devices that are known to be such are named besides.
func (s *search) unsaved(ctx context.Context, reasons []string) {
	for i, d := range s.inst.Config.Disks {
		if name := d.NameAt(i); d.Interface == vm.InterfaceNVMe && !slices.Contains(s.inst.Unplugged, name) {
			s.add(name, "is an NVMe disk, whose state QEMU can't save", "give it another interface, or make the snapshot without memory (DiskOnly)")
		}
	}
	for _, d := range s.inst.Plugged {
		if d.Disk != nil && d.Disk.Interface == qmp.DiskNVMe {
			s.add(d.ID, "is an NVMe disk, whose state QEMU can't save", fixDevice)
		}
	}
	s.shares(ctx)
	quoted := make([]string, len(reasons))
	for i, r := range reasons {
		quoted[i] = strconv.Quote(r)
	}
	s.add("", "QEMU says: "+strings.Join(quoted, ", "), fixDevice)
}

// shares names shared folders: with virtiofs each of them, with 9p those that are mounted.
func (s *search) shares(ctx context.Context) {
	var plan9 []string
	for i, share := range s.inst.Config.Shares {
		if s.virtiofs(share, i) {
			s.add(share.NameAt(i), "is shared by virtiofs, whose state QEMU can't save",
				"share it by 9p and unmount it before, or make the snapshot without memory (DiskOnly)")
		} else {
			plan9 = append(plan9, share.NameAt(i))
		}
	}
	if len(plan9) == 0 {
		return
	}
	mounted, known := s.mounted(ctx)
	for _, name := range plan9 {
		switch {
		case !known:
			s.add(name, "is shared by 9p, and may be mounted: the guest does not tell", "unmount it in the guest, if it is")
		case slices.Contains(mounted, name):
			s.add(name, "is shared by 9p, and mounted in the guest", "unmount it in the guest, and mount it again afterwards")
		}
	}
}

// virtiofs reports whether the share is one of virtiofs: by the configuration, or by the helper
// that was started for it where that leaves the choice.
func (s *search) virtiofs(share vm.Share, i int) bool {
	if share.Type != "" {
		return share.Type == vm.ShareVirtiofs
	}
	return slices.ContainsFunc(s.inst.Runtime.Helpers, func(h vm.Helper) bool { return h.Name == "virtiofsd "+share.NameAt(i) })
}

// mounted are the tags of the 9p shares that the guest has mounted, if it tells.
func (s *search) mounted(ctx context.Context) (tags []string, known bool) {
	if s.files == nil || s.inst.State != vm.Running { // nobody answers for a guest that is paused
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, mountsLimit)
	defer cancel()
	data, err := s.files.ReadFile(ctx, s.inst.ID, "/proc/self/mounts")
	if err != nil {
		s.log.DebugContext(ctx, "guest does not tell what is mounted", "vm", s.inst.Name, "error", err)
		return nil, false
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "9p" { // device, place, type (proc(5))
			tags = append(tags, unescapeMount(f[0]))
		}
	}
	return tags, true
}

// unescapeMount undoes what the kernel does with blanks and backslashes in its list of mounts:
// three octal digits (getmntent(3)).
func unescapeMount(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// strangers names disks that are written and are not of the configuration: they would stay as
// they are when the guest's memory goes back.
func (s *search) strangers(ctx context.Context, e qmp.Executor, images []vm.Image) error {
	list, err := nodesOf(ctx, e)
	for _, n := range list.active {
		ours := slices.ContainsFunc(images, func(img vm.Image) bool { return img.Name == n.disk })
		if !ours && !n.readOnly && !isFlash(n.disk) {
			s.add(n.disk, "is a disk that is written and not of the VM's configuration, so that it would not be part of the snapshot",
				"add it by Config.Disks or qmp.Manager.AddDevice, or attach it read-only")
		}
	}
	return err
}
