package qapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// startMachine starts a machine that has something of everything the queries are about,
// with a disk of 64 MiB on the node disk0. Nothing boots: its CPUs don't run.
func startMachine(t *testing.T) (c *qmp.Client, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "qapi")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	disk := filepath.Join(dir, "disk.raw")
	require.NoError(t, os.WriteFile(disk, nil, 0o600))
	require.NoError(t, os.Truncate(disk, 64<<20))
	c = startQEMU(t,
		"-M", "q35,nvdimm=on", "-accel", "tcg", "-m", "128M,slots=4,maxmem=4G", "-smp", "1,maxcpus=2", "-name", "live",
		"-device", "pcie-root-port,id=port0,chassis=1", "-device", "pcie-root-port,id=port1,chassis=2",
		"-object", "iothread,id=io0",
		"-blockdev", "driver=raw,node-name=disk0,file.driver=file,file.filename="+disk,
		"-device", "virtio-blk-pci,drive=disk0,id=vda,iothread=io0",
		"-device", "ide-cd,id=cd0",
		"-object", "memory-backend-ram,id=dimm0mem,size=64M", "-device", "pc-dimm,id=dimm0,memdev=dimm0mem",
		"-object", "memory-backend-ram,id=nv0mem,size=64M", "-device", "nvdimm,id=nv0,memdev=nv0mem",
		"-object", "memory-backend-ram,id=vmem0mem,size=64M", "-device", "virtio-mem-pci,id=vmem0,memdev=vmem0mem",
		"-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,id=nic0",
		"-device", "virtio-balloon-pci,id=balloon0", "-device", "vmgenid,id=gen0", "-device", "VGA,id=vga0",
		"-device", "virtio-tablet-pci", "-device", "qemu-xhci,id=usb0",
		"-chardev", "ringbuf,id=ring0", "-device", "isa-serial,chardev=ring0",
		"-vnc", "unix:"+filepath.Join(dir, "vnc")+",password=on",
		"-watchdog-action", "none",
	)
	return c, dir
}

// answers is an executor that keeps the last answer.
type answers struct {
	qmp.FileConn
	last json.RawMessage
}

func (a *answers) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	out, err := a.FileConn.Execute(ctx, command, args)
	a.last = out
	return out, err
}

// Every query's real answer fits its type, and loses nothing on the way through it.
func TestQueriesOfARealMachine(t *testing.T) {
	c, _ := startMachine(t)
	ctx := within(t, time.Minute)
	require.NoError(t, qapi.BlockDirtyBitmapAdd(ctx, c, qapi.BlockDirtyBitmapAddArgs{Node: "disk0", Name: "dirty"}))
	special := map[string][]any{
		"QueryStats": {qapi.StatsFilter{Target: qapi.StatsTargetVCPU}},
		"QueryCPUModelExpansion": {qapi.CpuModelExpansionTypeFull, qapi.CpuModelInfo{
			Name: "qemu64", Props: map[string]any{"avx": false},
		}},
		"QueryNamedBlockNodes":    {true},
		"QueryCommandLineOptions": {"drive"},
	}
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		if !strings.HasPrefix(name, "Query") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			e := &answers{FileConn: c}
			fn := reflect.ValueOf(functions[name])
			in := []reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(e)}
			for i := len(in); i < fn.Type().NumIn(); i++ {
				v := reflect.Zero(fn.Type().In(i))
				if given := special[name]; given != nil {
					v = reflect.ValueOf(given[i-2])
				}
				in = append(in, v)
			}
			out := fn.Call(in)
			err, _ := out[1].Interface().(error)
			var refused *errors.QMPError
			if errors.As(err, &refused) && refused.Class == "CommandNotFound" {
				require.Contains(t, since, "command "+refused.Command, "this QEMU should have it")
				return
			}
			require.NoError(t, err)
			text, err := json.Marshal(out[0].Interface())
			require.NoError(t, err)
			require.Empty(t, lost("", decode(t, e.last), decode(t, text)), "%.2000s", e.last)
		})
	}
}

func decode(t *testing.T, text []byte) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &v), "%s", text)
	return v
}

// lost lists what from has and to has not, apart from zero values and what this package
// leaves out.
func lost(path string, from, to any) (all []string) {
	switch from := from.(type) {
	case map[string]any:
		other, _ := to.(map[string]any)
		for name, v := range from {
			if !strings.HasPrefix(name, "x-") && !unwanted[name] {
				all = append(all, lost(path+"."+name, v, other[name])...)
			}
		}
	case []any:
		other, _ := to.([]any)
		if len(from) != len(other) {
			return []string{fmt.Sprintf("%s: %d of %d", path, len(other), len(from))}
		}
		for i, v := range from {
			all = append(all, lost(fmt.Sprintf("%s[%d]", path, i), v, other[i])...)
		}
	default:
		if from != to && (to != nil || !reflect.ValueOf(from).IsZero()) {
			all = append(all, fmt.Sprintf("%s: %v, not %v", path, to, from))
		}
	}
	return all
}

// unwanted are members that the types leave out; see leftOut.
var unwanted = map[string]bool{
	"block-incremental": true, "compress-level": true, "compress-threads": true,
	"compress-wait-thread": true, "decompress-threads": true, "deprecated-props": true,
}

func TestValuesOfARealMachine(t *testing.T) {
	c, _ := startMachine(t)
	ctx := within(t, time.Minute)

	status, err := qapi.QueryStatus(ctx, c)
	require.NoError(t, err)
	require.Equal(t, qapi.RunStatePrelaunch, status.Status)
	version, err := qapi.QueryVersion(ctx, c)
	require.NoError(t, err)
	require.EqualValues(t, c.Greeting().Version.Major, version.QEMU.Major)

	disks, err := qapi.QueryBlock(ctx, c)
	require.NoError(t, err)
	i := slices.IndexFunc(disks, func(b qapi.BlockInfo) bool { return b.Inserted != nil })
	require.EqualValues(t, 64<<20, disks[i].Inserted.Image.VirtualSize)
	require.Equal(t, "disk0", disks[i].Inserted.NodeName)
	require.Nil(t, disks[i].TrayOpen)

	devices, err := qapi.QueryMemoryDevices(ctx, c)
	require.NoError(t, err)
	kinds := map[qapi.MemoryDeviceInfoKind]any{}
	for _, d := range devices {
		kinds[d.Type] = d.Data
	}
	require.Len(t, kinds, 3)
	require.Equal(t, "dimm0", kinds[qapi.MemoryDeviceInfoKindDIMM].(qapi.PCDIMMDeviceInfo).ID)
	require.Equal(t, "nv0", kinds[qapi.MemoryDeviceInfoKindNVDIMM].(qapi.PCDIMMDeviceInfo).ID)
	require.EqualValues(t, 64<<20, kinds[qapi.MemoryDeviceInfoKindVirtioMem].(qapi.VirtioMEMDeviceInfo).MaxSize)

	cpus, err := qapi.QueryHotpluggableCPUs(ctx, c)
	require.NoError(t, err)
	require.Len(t, cpus, 2)
	require.NotNil(t, cpus[0].Props.SocketID)

	buses, err := qapi.QueryPCI(ctx, c)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(buses[0].Devices, func(d qapi.PciDeviceInfo) bool {
		return d.QdevID == "port0" && d.PCIBridge != nil && d.PCIBridge.Bus.Secondary == 0
	}))

	balloon, err := qapi.QueryBalloon(ctx, c)
	require.NoError(t, err)
	require.Positive(t, balloon.Actual)
	servers, err := qapi.QueryVNCServers(ctx, c)
	require.NoError(t, err)
	require.Equal(t, qapi.NetworkAddressFamilyUnix, servers[0].Server[0].Family)
	level, err := qapi.QOMGet[uint64](ctx, c, "/objects/dimm0mem", "size")
	require.NoError(t, err)
	require.EqualValues(t, 64<<20, level)
}
