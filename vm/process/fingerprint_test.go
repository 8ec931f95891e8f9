package process

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// printed is a guest whose fingerprint is taken.
type printed struct {
	spec vm.LaunchSpec
	host hostFacts
}

func (p printed) print(t *testing.T) vm.Fingerprint {
	t.Helper()
	plan, err := build(p.spec, p.host, files{dir: "/run/" + p.spec.ID, logDir: "/logs/" + p.spec.ID, console: "/c/" + p.spec.ID})
	require.NoError(t, err)
	return plan.fingerprint()
}

// typical has one of most things that guests have of their own.
func typical(t *testing.T) printed {
	t.Helper()
	cfg := vm.Config{Name: "template", Template: true, RNG: &vm.RNG{}, FwCfg: []vm.FwCfg{{Name: "opt/a", Text: "a,b"}},
		Disks:    []vm.Disk{{Name: "root", Base: "/base.qcow2", Serial: "S,1"}, {Size: vm.GiB, Interface: vm.InterfaceSCSI}},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Guest: 22, Port: 2222}}}, {Type: vm.NetworkSegment, MAC: "52:54:00:12:34:56"}},
		SMBIOS:   vm.SMBIOS{OEMStrings: []string{"text"}}, Serials: []vm.Serial{{Name: "talk", Socket: vm.SerialSocketAuto}}}
	images := []vm.Image{{Name: "root", Path: "/a/root", Format: vm.FormatQcow2}, {Name: "disk1", Path: "/a/1", Format: vm.FormatQcow2, Ephemeral: true}}
	host := facts
	host.version, host.build, host.ram = "7.2.0", "(1 bytes)", "pc.ram"
	return printed{vm.LaunchSpec{ID: fixedID, Config: cfg.Clone(), Boot: byDefault, Images: images}, host}
}

// TestFingerprintIsTheMachines: what each guest has of its own is not in it.
func TestFingerprintIsTheMachines(t *testing.T) {
	want := typical(t).print(t)
	require.Equal(t, "7.2.0 (1 bytes)", want.QEMU)
	require.Equal(t, []string{"pc-q35-7.2", "tcg", "max,-erms,-fsrm"}, []string{want.Machine, want.Accel, want.CPU})
	for _, own := range []string{fixedID, "52:54:00", "2222", "/proc/self/fd", "hostname", "maqet.net"} {
		require.NotContains(t, want.Args, own)
	}
	for name, change := range map[string]func(*printed){
		"nothing":            func(*printed) {},
		"name":               func(p *printed) { p.spec.Config.Name = "fork" },
		"ID":                 func(p *printed) { p.spec.ID = uuid.NewString() },
		"no template":        func(p *printed) { p.spec.Config.Template = false },
		"MAC":                func(p *printed) { p.spec.Config.Networks[0].MAC = "52:54:00:00:00:01" },
		"address":            func(p *printed) { p.spec.Config.Networks[1].Address = "10.9.0.7/16" },
		"segment":            func(p *printed) { p.spec.Config.Networks[1].Segment = "other" },
		"another port":       func(p *printed) { p.spec.Config.Networks[0].Forwards[0].Port = 0 },
		"one more port":      func(p *printed) { p.spec.Config.Networks[0].Forwards = make([]vm.Forward, 2) },
		"captured packets":   func(p *printed) { p.spec.Config.Networks[0].Capture = "/tmp/x" },
		"lifetime":           func(p *printed) { p.spec.Config.Lifetime = vm.Persistent },
		"labels":             func(p *printed) { p.spec.Config.Labels = map[string]string{"a": "b"} },
		"time-outs":          func(p *printed) { p.spec.Config.Timeouts.Launch = 1 },
		"image":              func(p *printed) { p.spec.Images[0].Path, p.spec.Images[0].Format = "/b", vm.FormatRaw },
		"image that is kept": func(p *printed) { p.spec.Images[1].Ephemeral = false },
		"disk is an overlay": func(p *printed) { p.spec.Config.Disks[1] = vm.Disk{Base: "/o", Interface: vm.InterfaceSCSI} },
		"throttle":           func(p *printed) { p.spec.Config.Disks[0].Throttle.IOPS = 100 },
		"boot order":         func(p *printed) { p.spec.Config.Disks[0].BootOrder = 3 },
		"sandbox":            func(p *printed) { p.host.sandbox = false },
		"fork": func(p *printed) {
			p.spec.Config.Template, p.spec.Incoming = false, &vm.Incoming{Memory: nil}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := typical(t)
			change(&p)
			require.Empty(t, want.Differences(p.print(t)))
			require.Equal(t, want, p.print(t))
		})
	}
}

// TestFingerprintUnderKVM: there the host's processor shows through.
func TestFingerprintUnderKVM(t *testing.T) {
	p := typical(t)
	p.host.accel = "kvm"
	got := p.print(t)
	require.Equal(t, "kvm", got.Accel)
	require.Equal(t, "host"+hostCPU(), got.CPU)
	require.Regexp(t, `^( on \S.*)?$`, hostCPU())
}

// TestFingerprintTells: a state does not fit another machine, and the error says why.
func TestFingerprintTells(t *testing.T) {
	want := typical(t).print(t)
	for says, change := range map[string]func(*printed){
		"QEMU was 7.2.0 (1 bytes), and is 7.2.1 (1 bytes)": func(p *printed) { p.host.version = "7.2.1" },
		"QEMU was 7.2.0 (1 bytes), and is 7.2.0 (2 bytes)": func(p *printed) { p.host.build = "(2 bytes)" },
		"and is pc-q35-7.1":                           func(p *printed) { p.host.machine = "pc-q35-7.1" },
		"the accelerator was tcg":                     func(p *printed) { p.host.accel = "kvm" },
		"and is Nehalem":                              func(p *printed) { p.spec.Config.CPU.Model = "Nehalem" },
		"it would have -smp cpus=2":                   func(p *printed) { p.spec.Config.CPU.Count = 2 },
		"it would have -m size=512M":                  func(p *printed) { p.spec.Config.Memory = 512 * vm.MiB },
		"it would have -kernel /k":                    func(p *printed) { p.spec.Boot.Kernel = "/k" },
		"it would have -initrd /i":                    func(p *printed) { p.spec.Boot.Initrd = "/i" },
		"console=ttyS0 quiet x=1":                     func(p *printed) { p.spec.Boot.Cmdline = []string{"quiet", "x=1"} },
		`"driver":"virtio-balloon-pci"`:               func(p *printed) { p.spec.Config.Balloon = &vm.Balloon{} },
		`it had -device {"bus":"virtio-scsi.0"`:       func(p *printed) { p.spec.Config.Disks[1].Interface = vm.InterfaceVirtio },
		`"serial":"other"`:                            func(p *printed) { p.spec.Config.Disks[0].Serial = "other" },
		`"id":"var"`:                                  func(p *printed) { p.spec.Config.Disks[0].Name = "var" },
		`"driver":"e1000e"`:                           func(p *printed) { p.spec.Config.Networks[0].Model = "e1000e" },
		`it had -netdev {"id":"net1","type":"dgram"}`: func(p *printed) { p.spec.Config.Networks[1].Type = vm.NetworkUser },
		`"net":"10.1.0.0/24"`:                         func(p *printed) { p.spec.Config.Networks[0].Subnet = "10.1.0.0/24" },
		"it would have -fw_cfg name=opt/b":            func(p *printed) { p.spec.Config.FwCfg[0].Name = "opt/b" },
		"it would have -rtc base=utc":                 func(p *printed) { p.spec.Config.Args = []string{"-rtc", "base=utc"} },
		`"driver":"vmgenid"`:                          func(p *printed) { p.spec.Config.GenerationID = vm.GenerationIDAuto },
		`it had -device {"driver":"virtio-net-pci"`:   func(p *printed) { p.spec.Unplugged = []string{"net0"} },
		`"bus":"hotplug0","driver":"nvme"`: func(p *printed) {
			p.spec.Plugged = []qmp.Device{{ID: "extra", Driver: "nvme", Bus: "hotplug0"}}
		},
	} {
		t.Run(says, func(t *testing.T) {
			p := typical(t)
			change(&p)
			got := p.print(t)
			require.NotEqual(t, want.Hash, got.Hash)
			require.Contains(t, strings.Join(want.Differences(got), "\n"), says)

			p.spec.Incoming = &vm.Incoming{Fingerprint: want}
			plan, err := build(p.spec, p.host, paths)
			require.NoError(t, err)
			err = plan.fitsIncoming()
			require.ErrorIs(t, err, errors.ErrTemplateMismatch)
			require.ErrorContains(t, err, says)
			require.ErrorContains(t, err, "capture the template again")
		})
	}
}

// TestFingerprintOfPlugged: a guest into which a device was plugged since it was launched is
// the same machine as one that is launched with it.
func TestFingerprintOfPlugged(t *testing.T) {
	nic := qmp.Device{ID: "late", Bus: "hotplug1", NIC: &qmp.NIC{MAC: "52:54:00:00:00:09"}}
	ram := qmp.Device{ID: "dimm", Memory: &qmp.Memory{Size: 128 << 20}}
	live := typical(t)
	plan, err := build(live.spec, live.host, paths)
	require.NoError(t, err)
	of := func(plugged []qmp.Device, unplugged ...string) vm.Fingerprint {
		return fingerprintOf(plan.commandLine(), plugged, unplugged, live.host.version, live.host.build)
	}
	require.Equal(t, live.print(t), of(nil))
	for _, c := range []struct {
		plugged   []qmp.Device
		unplugged []string
	}{
		{plugged: []qmp.Device{nic}}, {plugged: []qmp.Device{ram, nic}}, {unplugged: []string{"net1", "disk1"}},
		{plugged: []qmp.Device{nic}, unplugged: []string{vm.DeviceRNG}},
	} {
		next := typical(t)
		next.spec.Plugged, next.spec.Unplugged = c.plugged, c.unplugged
		got := of(c.plugged, c.unplugged...)
		require.NotEqual(t, live.print(t).Hash, got.Hash)
		if len(c.unplugged) == 0 { // else a controller may go with its last disk
			require.Equal(t, next.print(t), got)
		}
		for _, id := range c.unplugged {
			require.NotContains(t, got.Args, `"id":"`+id+`"`)
		}
	}
}
