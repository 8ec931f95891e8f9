package process

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// imagesOf are images for disks that nobody opens.
func imagesOf(cfg vm.Config) (images []vm.Image) {
	for i, d := range cfg.Disks {
		img := vm.Image{Name: d.NameAt(i), Path: "/images/" + d.NameAt(i), Format: vm.FormatQcow2, Ephemeral: !d.HasImage(), Owned: !d.HasImage()}
		if d.IsCDROM() && !d.HasImage() {
			img = vm.Image{Name: img.Name}
		}
		images = append(images, img)
	}
	return images
}

var (
	onPC      = with(func(h *hostFacts) { h.machine = "pc-i440fx-7.2" })
	onMicrovm = with(func(h *hostFacts) { h.machine = "microvm" })
	onARM     = with(func(h *hostFacts) { h.arch, h.machine = "aarch64", "virt-7.2" })
	onRISCV   = with(func(h *hostFacts) { h.arch, h.machine = "riscv64", "virt" })
)

// deviceOf returns the -device argument of that ID.
func deviceOf(t *testing.T, plan *builder, id string) map[string]any {
	t.Helper()
	for _, a := range plan.args {
		if a.option == "device" && a.id == id {
			return parsed(a).(map[string]any)
		}
	}
	t.Fatal("no device " + id)
	return nil
}

// TestWhereDisksGo: each interface of each machine, and what CD-ROMs are by default.
func TestWhereDisksGo(t *testing.T) {
	cd := vm.Disk{Path: "a.iso"}
	on := func(kind string) vm.Disk { return vm.Disk{Size: vm.MiB, Interface: kind} }
	for _, c := range []struct {
		host        hostFacts
		disk        vm.Disk
		driver, bus string
	}{
		{facts, vm.Disk{Size: vm.MiB}, "virtio-blk-pci", ""}, {facts, cd, "ide-cd", "ide.0"}, {facts, on("sata"), "ide-hd", "ide.0"},
		{facts, on("scsi"), "scsi-hd", "virtio-scsi.0"}, {facts, on("nvme"), "nvme", ""}, {facts, on("usb"), "usb-storage", "usb.0"},
		{facts, vm.Disk{Path: "a.iso", Interface: "usb"}, "scsi-cd", "disk0-usb.0"},
		{onPC, cd, "ide-cd", "ide.0"}, {onPC, on("ide"), "ide-hd", "ide.0"}, {onPC, on("sata"), "ide-hd", "ahci.0"}, {onPC, on("nvme"), "nvme", ""},
		{onMicrovm, vm.Disk{Size: vm.MiB}, "virtio-blk-device", ""}, {onMicrovm, cd, "scsi-cd", "virtio-scsi.0"}, {onMicrovm, on("scsi"), "scsi-hd", "virtio-scsi.0"},
		{onARM, cd, "scsi-cd", "virtio-scsi.0"}, {onARM, on("sata"), "ide-hd", "ahci.0"}, {onARM, on("usb"), "usb-storage", "usb.0"},
		{onRISCV, cd, "scsi-cd", "virtio-scsi.0"}, {onRISCV, on("nvme"), "nvme", ""},
	} {
		cfg := vm.Config{Name: "d", Disks: []vm.Disk{c.disk}}
		plan, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault, Images: imagesOf(cfg)}, c.host, paths)
		require.NoError(t, err)
		got := deviceOf(t, plan, "disk0")
		require.Equal(t, c.driver, got["driver"], "%s %+v", c.host.machine, c.disk)
		if bus, _ := got["bus"].(string); bus != c.bus {
			t.Errorf("%s on bus %q instead of %q of %s", c.driver, bus, c.bus, c.host.machine)
		}
	}
}

// TestWhereNoDisksGo: what a machine lacks is a problem of the field, with another way.
func TestWhereNoDisksGo(t *testing.T) {
	many := func(n int, kind string) (disks []vm.Disk) {
		for range n {
			disks = append(disks, vm.Disk{Size: vm.MiB, Interface: kind})
		}
		return disks
	}
	for name, c := range map[string]struct {
		host  hostFacts
		disks []vm.Disk
		field string
		fix   string
	}{
		"NVMe on a microvm":     {onMicrovm, many(1, "nvme"), "disks[0].interface", "virtio or scsi"},
		"SATA on a microvm":     {onMicrovm, many(1, "sata"), "disks[0].interface", "virtio or scsi"},
		"USB on a microvm":      {onMicrovm, many(1, "usb"), "disks[0].interface", "virtio or scsi"},
		"IDE on a microvm":      {onMicrovm, many(1, "ide"), "disks[0].interface", "virtio or scsi"},
		"IDE on q35":            {facts, many(1, "ide"), "disks[0].interface", "sata"},
		"IDE on ARM":            {onARM, many(1, "ide"), "disks[0].interface", "sata"},
		"IDE on RISC-V":         {onRISCV, many(1, "ide"), "disks[0].interface", "sata"},
		"a seventh SATA disk":   {facts, many(7, "sata"), "disks[6].interface", "scsi"},
		"a fifth IDE disk":      {onPC, many(5, "ide"), "disks[4].interface", "scsi"},
		"a QEMU without uring":  {facts, []vm.Disk{{Size: vm.MiB, AIO: vm.AIOURing}}, "disks[0].aio", "threads"},
		"a controller's name":   {facts, []vm.Disk{{Size: vm.MiB, Name: "virtio-scsi"}}, "disks[0].name", "another"},
		"another disk's nodes":  {facts, []vm.Disk{{Size: vm.MiB, Name: "a"}, {Size: vm.MiB, Name: "a-file"}}, "disks[1]", "another id or name"},
		"a device of that name": {facts, []vm.Disk{{Path: "a.iso", Interface: "usb", Name: "a"}, {Size: vm.MiB, Name: "a-usb"}}, "disks[1]", "another id or name"},
	} {
		cfg := vm.Config{Name: "d", Disks: c.disks}
		require.NoError(t, cfg.Validate(), name)
		_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: byDefault, Images: imagesOf(cfg)}, c.host, paths)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad, name)
		require.Len(t, bad.Problems, 1, "%s: %v", name, bad)
		require.Equal(t, c.field, bad.Problems[0].Field, name)
		require.Contains(t, bad.Problems[0].Fix, c.fix, name)
	}
	uring := with(func(h *hostFacts) { h.aio = []string{"threads", "native", "io_uring"} })
	cfg := vm.Config{Disks: []vm.Disk{{Size: vm.MiB, AIO: vm.AIOURing}}}
	_, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Images: imagesOf(cfg)}, uring, paths)
	require.NoError(t, err)
}

// TestBootIndexes: given places first, then images in their order; nothing twice, and
// nothing that a kernel which QEMU loads itself has.
func TestBootIndexes(t *testing.T) {
	image := func(order int) vm.Disk { return vm.Disk{Path: "a.raw", BootOrder: order} }
	empty := func(order int) vm.Disk { return vm.Disk{Size: vm.MiB, BootOrder: order} }
	for _, c := range []struct {
		disks    []vm.Disk
		networks []vm.Network
		firmware bool
		want     []int
	}{
		{[]vm.Disk{image(0), empty(0), image(0)}, nil, true, []int{1, 0, 2}},
		{[]vm.Disk{image(0), empty(0), image(0)}, nil, false, []int{0, 0, 0}},
		{[]vm.Disk{image(0), image(2), image(0), empty(5)}, nil, true, []int{6, 2, 7, 5}},
		{[]vm.Disk{image(0), image(3)}, nil, false, []int{0, 3}},
		{[]vm.Disk{image(0)}, []vm.Network{{BootOrder: 1}}, true, []int{2}},
		{[]vm.Disk{{Media: vm.MediaCDROM}, {Path: "a.iso"}}, nil, true, []int{0, 1}},
	} {
		require.Equal(t, c.want, guestview.BootIndexes(vm.Config{Disks: c.disks, Networks: c.networks}, c.firmware))
	}
}

// TestUnpluggedDiskKeepsItsPlace: the others stay where they were.
func TestUnpluggedDiskKeepsItsPlace(t *testing.T) {
	cfg := vm.Config{Name: "d", Disks: []vm.Disk{{Path: "a.raw", Interface: "scsi"}, {Path: "b.raw", Interface: "scsi"}, {Path: "c.iso"}}}
	for _, gone := range [][]string{nil, {"disk0"}} {
		plan, err := build(vm.LaunchSpec{ID: fixedID, Config: cfg, Images: imagesOf(cfg), Unplugged: gone}, facts, paths)
		require.NoError(t, err)
		second := deviceOf(t, plan, "disk1")
		require.EqualValues(t, 1, second["scsi-id"])
		require.EqualValues(t, 2, second["bootindex"])
	}
}

// TestAnyDisks: whatever disks a valid configuration has, names and places are taken once,
// what is referred to is there, and no image is opened without a format.
func TestAnyDisks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	built := 0
	for range 3000 {
		cfg := vm.Config{Name: "any"}
		for i := range 1 + random.IntN(8) {
			d := vm.Disk{Interface: pick("", "", "virtio", "scsi", "nvme", "sata", "ide", "usb"), Media: pick("", "", "disk", "cdrom"),
				Path: pick("", "a.raw", "b.iso", "c.qcow2"), Cache: pick("", "none", "writethrough", "directsync", "unsafe"),
				AIO: pick("", "threads", "native"), Discard: pick("", "ignore"), Serial: pick("", "S,1"), ReadOnly: random.IntN(4) == 0}
			if d.Path == "" && d.Media != vm.MediaCDROM {
				d.Size = vm.MiB
			}
			if random.IntN(3) == 0 {
				d.Throttle.IOPS, d.BootOrder = 100, i+1
			}
			cfg.Disks = append(cfg.Disks, d)
		}
		if cfg.Validate() != nil {
			continue
		}
		host := []hostFacts{facts, onPC, onMicrovm, onARM}[random.IntN(4)]
		spec := vm.LaunchSpec{ID: fixedID, Config: cfg, Images: imagesOf(cfg)}
		plan, err := build(spec, host, paths)
		if err != nil {
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.True(t, strings.HasPrefix(bad.Problems[0].Field, "disks["), bad)
			continue
		}
		built++
		requireSound(t, plan)
	}
	require.Greater(t, built, 100, "too few of them are valid")
}

func requireSound(t *testing.T, plan *builder) {
	t.Helper()
	names, places := map[string]bool{}, map[string]bool{}
	once := func(space string, name any) {
		key := fmt.Sprint(space, " ", name)
		require.False(t, names[key], "%s twice", key)
		names[key] = true
	}
	for _, a := range plan.args {
		p, ok := parsed(a).(map[string]any)
		if a.id != "" {
			once(a.option, a.id)
		}
		switch {
		case !ok:
		case a.option == "blockdev":
			require.NotEmpty(t, p["driver"])
			require.Contains(t, p, "read-only")
			for _, below := range []string{"file", "backing"} {
				if name, given := p[below]; given {
					require.True(t, names[fmt.Sprint("blockdev ", name)], "%v is not there", name)
				}
			}
		case a.option == "device":
			if drive, given := p["drive"]; given {
				require.True(t, names[fmt.Sprint("blockdev ", drive)], "%v is not there", drive)
			}
			if index, given := p["bootindex"]; given {
				once("bootindex", index)
			}
			if p["scsi-id"] != nil || p["unit"] != nil || strings.HasPrefix(fmt.Sprint(p["driver"]), "ide-") {
				place := fmt.Sprint(p["bus"], "/", p["scsi-id"], "/", p["unit"])
				require.False(t, places[place], "%s twice", place)
				places[place] = true
			}
		}
	}
}
