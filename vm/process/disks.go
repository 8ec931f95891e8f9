package process

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// disks adds the disks. One that was removed while the VM ran keeps its place on its bus
// and in the boot order, so that the others stay where they were.
func (b *builder) disks() {
	order := guestview.BootIndexes(b.spec.Config, b.spec.Boot.Kernel == "")
	taken := map[string]int{}
	for i, d := range b.spec.Config.Disks {
		kind := b.diskInterface(d)
		slot := taken[kind]
		taken[kind]++
		if b.unplugged(d.NameAt(i)) {
			continue
		}
		b.disk(attachment{Disk: d, field: fmt.Sprintf("disks[%d]", i), name: d.NameAt(i),
			kind: kind, slot: slot, index: i, bootindex: order[i]}, b.spec.Images[i])
	}
}

// attachment is a disk with its place in the guest.
type attachment struct {
	vm.Disk
	field     string // in the configuration
	name      string
	kind      string // vm.InterfaceVirtio, ...
	slot      int    // which disk of its kind it is
	index     int    // which disk at all
	bootindex int    // QEMU's; 0: firmware does not try it
}

// The nodes of a disk: its format, which has the disk's name and is what snapshots,
// overlays and QMP work with; the file below it; and above it, where there is one, the
// filter that throttles, on which the device is.
func fileNode(disk string) string  { return disk + "-file" }
func limitNode(disk string) string { return disk + "-limit" }

func (b *builder) disk(a attachment, img vm.Image) {
	b.notReserved(a.field+".name", a.name)
	device := props{"id": a.name}
	if img.Path != "" { // else an empty tray
		device["drive"] = b.nodes(a, img)
	}
	if a.Serial != "" {
		device["serial"] = a.Serial
	}
	if a.bootindex > 0 {
		device["bootindex"] = a.bootindex
	}
	if writesThrough(a.Cache) && !a.IsReadOnly() {
		device["write-cache"] = "off"
	}
	b.attach(a, device)
	b.json("device", a.name, a.field, device)
}

// nodes adds the disk's block nodes, and returns the name of the topmost.
func (b *builder) nodes(a attachment, img vm.Image) string {
	file := fileNode(a.name)
	protocol := props{"driver": "file", "node-name": file, "filename": img.Path}
	if img.Device {
		protocol["driver"] = "host_device"
	}
	if a.AIO != "" {
		b.checkAIO(a)
		protocol["aio"] = a.AIO
	}
	format := props{"driver": img.Format, "node-name": a.name, "file": file}
	for _, node := range []props{protocol, format} {
		node["read-only"] = a.IsReadOnly()
		node["discard"] = discardOf(a)
		if cache := cacheOf(a.Cache, img.Ephemeral); len(cache) > 0 {
			node["cache"] = cache
		}
	}
	if img.Encrypted || len(img.Bases) > 0 {
		b.key(a)
	}
	if img.Encrypted {
		format["encrypt"] = encryption(a.name)
	}
	if len(img.Bases) > 0 {
		format["backing"] = basesOf(a.name, img.Bases)
	}
	b.json("blockdev", file, a.field, protocol)
	b.json("blockdev", a.name, a.field, format)
	if a.Throttle == (vm.Throttle{}) {
		return a.name
	}
	return b.limits(a)
}

// checkAIO refuses what this QEMU was built without. That the host's kernel has it shows
// when QEMU opens the image.
func (b *builder) checkAIO(a attachment) {
	if a.AIO == vm.AIOURing && !slices.Contains(b.host.aio, a.AIO) {
		b.problem(a.field+".aio", a.AIO, "is not in this QEMU: "+b.host.binary, `use "threads", or "native" with a cache of "none"`)
	}
}

// cacheOf returns the options of a block node for a cache mode (qemu-img(1), "-t CACHE"),
// without those that are QEMU's own defaults. What vanishes with the guest need not reach
// the disk.
func cacheOf(mode string, ephemeral bool) props {
	if mode == "" && ephemeral {
		mode = vm.CacheUnsafe
	}
	switch mode {
	case vm.CacheNone, vm.CacheDirectSync:
		return props{"direct": true}
	case vm.CacheUnsafe:
		return props{"no-flush": true}
	}
	return nil
}

// discardOf is what becomes of what the guest trims; QEMU's own default is to ignore it.
func discardOf(a attachment) string { return cmp.Or(a.Discard, vm.DiscardUnmap) }

// writesThrough reports whether what the guest writes is flushed at once; the device then
// says that it has no cache.
func writesThrough(mode string) bool {
	return mode == vm.CacheWriteThrough || mode == vm.CacheDirectSync
}

// limits puts the filter that throttles above the disk's format, and returns its name. A
// new overlay of the format comes below the filter, so that the limits hold on.
func (b *builder) limits(a attachment) string {
	limit, t := limitNode(a.name), a.Throttle
	limits := map[string]int64{}
	for key, value := range map[string]int64{
		"iops-total": t.IOPS, "iops-read": t.ReadIOPS, "iops-write": t.WriteIOPS,
		"bps-total": int64(t.Rate), "bps-read": int64(t.ReadRate), "bps-write": int64(t.WriteRate),
	} {
		if value != 0 {
			limits[key] = value
		}
	}
	b.json("object", limit, a.field+".throttle", props{"qom-type": "throttle-group", "id": limit, "limits": limits})
	b.json("blockdev", limit, a.field+".throttle", props{"driver": "throttle", "node-name": limit, "file": a.name,
		"throttle-group": limit, "read-only": a.IsReadOnly(), "discard": discardOf(a)})
	return limit
}
