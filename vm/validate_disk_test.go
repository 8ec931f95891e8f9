package vm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestDiskRules(t *testing.T) {
	for name, d := range map[string]vm.Disk{
		"new":                  {Size: vm.GiB},
		"in place":             {Path: "a.qcow2"},
		"overlay":              {Base: "a.img"},
		"larger overlay":       {Base: "a.img", Size: vm.GiB},
		"iso":                  {Path: "a.ISO", ReadOnly: true},
		"iso as a disk":        {Path: "a.iso", Media: vm.MediaDisk, Interface: vm.InterfaceNVMe},
		"empty tray":           {Media: vm.MediaCDROM},
		"CD-ROM of any name":   {Path: "cd", Format: "raw", Media: vm.MediaCDROM, Interface: vm.InterfaceUSB},
		"stated format":        {Path: "/dev/vg/x", Format: "raw"},
		"native":               {Size: vm.GiB, AIO: vm.AIONative, Cache: vm.CacheNone},
		"longest name":         {Size: vm.GiB, Name: strings.Repeat("x", 25)},
		"throttled":            {Size: vm.GiB, Throttle: vm.Throttle{IOPS: 100, ReadRate: vm.MiB, WriteRate: vm.MiB}},
		"throttled the other":  {Size: vm.GiB, Throttle: vm.Throttle{ReadIOPS: 100, WriteIOPS: 1, Rate: vm.MiB}},
		"read-only by itself":  {Base: "a.raw", ReadOnly: true},
		"read-only stick":      {Path: "a.raw", ReadOnly: true, Interface: vm.InterfaceUSB},
		"last to boot":         {Path: "a.raw", BootOrder: 999},
		"all that is printed":  {Size: vm.GiB, Serial: `a,b="c" ~%s\x`},
		"unsafe and io_uring":  {Size: vm.GiB, Cache: vm.CacheUnsafe, AIO: vm.AIOURing},
		"no discarding at all": {Size: vm.GiB, Discard: vm.DiscardIgnore},
	} {
		require.NoError(t, vm.Config{Disks: []vm.Disk{d}}.Validate(), name)
	}
}

// TestDiskMistakes: each is found, by its field, and with something to do about it.
func TestDiskMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		field string
		disk  vm.Disk
	}{
		"nothing":                     {"", vm.Disk{}},
		"path and base":               {"", vm.Disk{Path: "a.img", Base: "b.img"}},
		"odd size":                    {"size", vm.Disk{Size: 1000}},
		"negative":                    {"size", vm.Disk{Size: -512}},
		"size in place":               {"size", vm.Disk{Path: "a.img", Size: vm.GiB}},
		"size of a CD-ROM":            {"size", vm.Disk{Media: vm.MediaCDROM, Size: vm.GiB}},
		"size of a read-only base":    {"size", vm.Disk{Base: "a.img", ReadOnly: true, Size: vm.GiB}},
		"unknown format":              {"format", vm.Disk{Path: "a"}},
		"unknown format of a CD-ROM":  {"format", vm.Disk{Path: "a", Media: vm.MediaCDROM}},
		"wrong format":                {"format", vm.Disk{Path: "a", Format: "vmdk"}},
		"read-only and new":           {"read_only", vm.Disk{Size: vm.GiB, ReadOnly: true}},
		"read-only SATA":              {"read_only", vm.Disk{Path: "a.img", ReadOnly: true, Interface: vm.InterfaceSATA}},
		"read-only IDE":               {"read_only", vm.Disk{Path: "a.img", ReadOnly: true, Interface: vm.InterfaceIDE}},
		"long serial":                 {"serial", vm.Disk{Size: vm.GiB, Serial: strings.Repeat("x", 21)}},
		"serial with a newline":       {"serial", vm.Disk{Size: vm.GiB, Serial: "a\nb"}},
		"serial with an umlaut":       {"serial", vm.Disk{Size: vm.GiB, Serial: "ü"}},
		"interface":                   {"interface", vm.Disk{Size: vm.GiB, Interface: "floppy"}},
		"virtio CD-ROM":               {"interface", vm.Disk{Path: "a.iso", Interface: vm.InterfaceVirtio}},
		"NVMe tray":                   {"interface", vm.Disk{Media: vm.MediaCDROM, Interface: vm.InterfaceNVMe}},
		"media":                       {"media", vm.Disk{Path: "a.iso", Media: "dvd"}},
		"cache":                       {"cache", vm.Disk{Size: vm.GiB, Cache: "fast"}},
		"aio":                         {"aio", vm.Disk{Size: vm.GiB, AIO: "aio"}},
		"native over the host's":      {"aio", vm.Disk{Size: vm.GiB, AIO: vm.AIONative}},
		"native and writethrough":     {"aio", vm.Disk{Size: vm.GiB, AIO: vm.AIONative, Cache: vm.CacheWriteThrough}},
		"discard":                     {"discard", vm.Disk{Size: vm.GiB, Discard: "on"}},
		"name with a comma":           {"name", vm.Disk{Size: vm.GiB, Name: "a,b"}},
		"long name":                   {"name", vm.Disk{Size: vm.GiB, Name: strings.Repeat("x", 26)}},
		"path with a newline":         {"path", vm.Disk{Path: "a\n.img"}},
		"base with a NUL":             {"base", vm.Disk{Base: "a\x00.img"}},
		"negative order":              {"boot_order", vm.Disk{Path: "a.img", BootOrder: -1}},
		"large order":                 {"boot_order", vm.Disk{Path: "a.img", BootOrder: 1000}},
		"negative throttle":           {"throttle.iops", vm.Disk{Path: "a.img", Throttle: vm.Throttle{IOPS: -1}}},
		"large throttle":              {"throttle.write_rate", vm.Disk{Path: "a.img", Throttle: vm.Throttle{WriteRate: 1 << 60}}},
		"throttled all in all, reads": {"throttle.rate", vm.Disk{Path: "a.img", Throttle: vm.Throttle{Rate: 1, ReadRate: 1}}},
		"operations in both ways":     {"throttle.iops", vm.Disk{Path: "a.img", Throttle: vm.Throttle{IOPS: 1, WriteIOPS: 1}}},
		"throttled tray":              {"throttle", vm.Disk{Media: vm.MediaCDROM, Throttle: vm.Throttle{IOPS: 1}}},
	} {
		var bad *errors.ConfigError
		require.ErrorAs(t, vm.Config{Disks: []vm.Disk{c.disk}}.Validate(), &bad, name)
		require.Len(t, bad.Problems, 1, "%s: %v", name, bad)
		require.Equal(t, strings.TrimSuffix("disks[0]."+c.field, "."), bad.Problems[0].Field, name)
		require.NotEmpty(t, bad.Problems[0].Message)
		require.NotEmpty(t, bad.Problems[0].Fix)
	}
}

// TestBootOrderOnce: disks and network cards stand in one order.
func TestBootOrderOnce(t *testing.T) {
	disk := func(order int) vm.Disk { return vm.Disk{Size: vm.MiB, BootOrder: order} }
	require.NoError(t, vm.Config{Disks: []vm.Disk{disk(0), disk(0), disk(2)}, Networks: []vm.Network{{BootOrder: 1}, {}, {}}}.Validate())
	for field, cfg := range map[string]vm.Config{
		"disks[1].boot_order":    {Disks: []vm.Disk{disk(1), disk(1)}},
		"networks[0].boot_order": {Disks: []vm.Disk{disk(1)}, Networks: []vm.Network{{BootOrder: 1}}},
		"networks[1].boot_order": {Networks: []vm.Network{{BootOrder: 3}, {BootOrder: 3}}},
	} {
		var bad *errors.ConfigError
		require.ErrorAs(t, cfg.Validate(), &bad, field)
		require.True(t, bad.Has(field), "%s in %v", field, bad)
		require.ErrorContains(t, bad, "is also the place of")
	}
}

func TestDiskKinds(t *testing.T) {
	for _, c := range []struct {
		disk        vm.Disk
		cd, ro, img bool
	}{
		{vm.Disk{Path: "a.iso"}, true, true, true},
		{vm.Disk{Path: "a.Iso", Media: vm.MediaDisk}, false, false, true},
		{vm.Disk{Base: "a.iso"}, false, false, true},
		{vm.Disk{Media: vm.MediaCDROM}, true, true, false},
		{vm.Disk{Path: "a.raw", ReadOnly: true}, false, true, true},
		{vm.Disk{Size: vm.MiB}, false, false, false},
	} {
		require.Equal(t, c.cd, c.disk.IsCDROM(), c.disk)
		require.Equal(t, c.ro, c.disk.IsReadOnly(), c.disk)
		require.Equal(t, c.img, c.disk.HasImage(), c.disk)
	}
}
