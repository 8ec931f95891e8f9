package libvirt

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// snapBench is a domain without a system in it, of which snapshots are made.
type snapBench struct {
	*Backend
	l    *libvirt.Libvirt
	dom  libvirt.Domain
	inst vm.Instance
	dir  string
	uri  string
}

// newSnapBench defines a domain with disks of these formats.
func newSnapBench(t *testing.T, formats ...string) *snapBench {
	t.Helper()
	d := daemon.Get(t)
	b, err := New(Options{URI: d.URI()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	id := uuid.New()
	s := &snapBench{Backend: b, l: d.Connect(t), dir: t.TempDir(), uri: d.URI(), inst: vm.Instance{ID: id.String(), Name: "snap-" + id.String()[:8]}}
	disks := ""
	for i, format := range formats {
		name := string(rune('a' + i))
		path := filepath.Join(s.dir, name+"."+format)
		s.run(t, "qemu-img", "create", "-q", "-f", format, path, "16M")
		disks += `<disk type='file' device='disk'><driver name='qemu' type='` + format + `'/><source file='` + path + `'/>` +
			`<target dev='vd` + name + `' bus='virtio'/><alias name='ua-disk` + name + `'/></disk>`
	}
	s.dom, err = s.l.DomainDefineXML(s.xml(disks))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = s.l.DomainDestroy(s.dom) // it may not run
		require.NoError(t, s.l.DomainUndefineFlags(s.dom, libvirt.DomainUndefineSnapshotsMetadata))
	})
	return s
}

func (s *snapBench) xml(devices string) string {
	return `<domain type='qemu'><name>` + s.inst.Name + `</name><uuid>` + s.inst.ID + `</uuid><memory unit='MiB'>32</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>` + devices + `</devices></domain>`
}

func (s *snapBench) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return string(out)
}

// plug adds a device to what is started next.
func (s *snapBench) plug(t *testing.T, device string) {
	t.Helper()
	require.NoError(t, s.l.DomainAttachDeviceFlags(s.dom, device, uint32(libvirt.DomainDeviceModifyConfig)))
}

func (s *snapBench) start(t *testing.T) {
	t.Helper()
	_, err := s.l.DomainCreateWithFlags(s.dom, uint32(libvirt.DomainStartPaused))
	require.NoError(t, err)
}

func (s *snapBench) create(t *testing.T, spec vm.SnapshotSpec) {
	t.Helper()
	blockers, err := s.SnapshotBlockers(t.Context(), s.inst, vm.CreatingSnapshot, spec)
	require.NoError(t, err)
	require.Empty(t, blockers)
	require.NoError(t, s.CreateSnapshot(t.Context(), s.inst, spec))
	require.NoError(t, err)
	s.inst.Layers, err = s.SnapshotLayers(t.Context(), s.inst)
	require.NoError(t, err)
}

// tells returns the blockers as text.
func (s *snapBench) tells(t *testing.T, act vm.SnapshotAct, spec vm.SnapshotSpec) (found []string) {
	t.Helper()
	blockers, err := s.SnapshotBlockers(t.Context(), s.inst, act, spec)
	require.NoError(t, err)
	for _, b := range blockers {
		require.NotEmpty(t, b.Fix)
		found = append(found, b.Device+" "+b.Reason)
	}
	return found
}

func (s *snapBench) state(t *testing.T) libvirt.DomainState {
	t.Helper()
	state, _, err := s.l.DomainGetState(s.dom, 0)
	require.NoError(t, err)
	return libvirt.DomainState(state)
}

// list returns the snapshots by name, and their names in order.
func (s *snapBench) list(t *testing.T) (map[string]vm.BackendSnapshot, []string) {
	t.Helper()
	list, err := s.ListSnapshots(t.Context(), s.inst)
	require.NoError(t, err)
	byName, names := map[string]vm.BackendSnapshot{}, []string{}
	for _, snap := range list {
		byName[snap.Name] = snap
		names = append(names, snap.Name)
	}
	return byName, names
}

func TestSnapshotsWithMemory(t *testing.T) {
	s := newSnapBench(t, "qcow2", "qcow2")
	_, names := s.list(t)
	require.Empty(t, names)
	begun := time.Now().Truncate(time.Second)
	s.create(t, vm.SnapshotSpec{Name: "off", Description: "<a> & b"})
	s.start(t)
	s.create(t, vm.SnapshotSpec{Name: "one"})
	s.create(t, vm.SnapshotSpec{Name: "two"})

	list, names := s.list(t)
	require.Equal(t, []string{"off", "one", "two"}, names)
	require.Equal(t, "<a> & b", list["off"].Description)
	require.False(t, list["off"].Memory)
	require.True(t, list["one"].Memory)
	require.Equal(t, "one", list["two"].Parent)
	require.True(t, list["two"].Current)
	require.False(t, list["one"].Current)
	require.WithinRange(t, list["one"].Created, begun, time.Now())
	require.Equal(t, []vm.BackendSnapshotDisk{{Name: "diska", Path: s.dir + "/a.qcow2"}, {Name: "diskb", Path: s.dir + "/b.qcow2"}}, list["one"].Disks)
	require.Contains(t, s.run(t, "virsh", "-c", s.uri, "snapshot-list", s.inst.Name, "--tree"), "two")

	t.Run("the disks only, into a VM that is not live", func(t *testing.T) {
		require.NoError(t, s.l.DomainDestroy(s.dom))
		for _, name := range []string{"one", "off"} {
			require.NoError(t, s.LoadSnapshot(t.Context(), s.inst, name))
			require.Equal(t, libvirt.DomainShutoff, s.state(t))
			list, _ := s.list(t)
			require.True(t, list[name].Current)
		}
	})
	t.Run("into a domain that runs all the same", func(t *testing.T) {
		s.run(t, "virsh", "-c", s.uri, "snapshot-revert", s.inst.Name, "one", "--paused") // as a load that died
		require.NoError(t, s.LoadSnapshot(t.Context(), s.inst, "off"))
		require.Equal(t, libvirt.DomainShutoff, s.state(t))
		s.start(t)
		require.ErrorIs(t, s.LoadSnapshot(t.Context(), s.inst, "off"), errors.ErrSnapshotBlocked)
		require.Equal(t, libvirt.DomainPaused, s.state(t))
		require.NoError(t, s.l.DomainDestroy(s.dom))
	})
	t.Run("a start from memory", func(t *testing.T) {
		dom, err := s.startFrom(t.Context(), s.inst.Name, s.dom, "two")
		require.NoError(t, err)
		require.NotEqual(t, notActive, dom.ID)
		require.Equal(t, libvirt.DomainPaused, s.state(t))
	})
	t.Run("delete in the middle", func(t *testing.T) {
		require.NoError(t, s.DeleteSnapshot(t.Context(), s.inst, "one"))
		list, names := s.list(t)
		require.Equal(t, []string{"off", "two"}, names)
		require.Equal(t, "off", list["two"].Parent)
		require.NotContains(t, s.run(t, "qemu-img", "snapshot", "-U", "-l", s.dir+"/a.qcow2"), "one")
	})
}

func TestExternalSnapshots(t *testing.T) {
	s := newSnapBench(t, "raw", "qcow2")
	s.start(t)
	s.create(t, vm.SnapshotSpec{Name: "one", External: true, Freeze: true}) // there is no agent
	s.create(t, vm.SnapshotSpec{Name: "two", External: true})
	require.Equal(t, []vm.Layer{{Disk: "diska", Path: s.dir + "/a.two"}, {Disk: "diskb", Path: s.dir + "/b.two"}}, s.inst.Layers)
	list, _ := s.list(t)
	require.True(t, list["two"].External)
	require.Equal(t, s.dir+"/a.one", list["two"].Disks[0].Path)

	err := s.CreateSnapshot(t.Context(), s.inst, vm.SnapshotSpec{Name: "three", External: true, Freeze: true, MustFreeze: true})
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	require.Len(t, s.tells(t, vm.LoadingSnapshot, vm.SnapshotSpec{Name: "one"}), 1)

	require.NoError(t, s.DeleteSnapshot(t.Context(), s.inst, "one"))
	s.run(t, "virsh", "-c", s.uri, "snapshot-delete", s.inst.Name, "two", "--metadata")
	layers, err := s.SnapshotLayers(t.Context(), s.inst)
	require.NoError(t, err)
	require.Equal(t, s.inst.Layers, layers, "libvirt forgot, and they are used all the same")
}

func TestDeleteExternalSnapshotOfStopped(t *testing.T) {
	s := newSnapBench(t, "qcow2")
	s.start(t)
	s.create(t, vm.SnapshotSpec{Name: "one", External: true})
	require.NoError(t, s.l.DomainDestroy(s.dom))
	require.NoError(t, s.DeleteSnapshot(t.Context(), s.inst, "one"))
	require.Equal(t, libvirt.DomainShutoff, s.state(t))
	layers, err := s.SnapshotLayers(t.Context(), s.inst)
	require.NoError(t, err)
	require.Empty(t, layers)
}

func TestSnapshotBlockers(t *testing.T) {
	s := newSnapBench(t, "qcow2", "raw")
	internal, external := vm.SnapshotSpec{Name: "in"}, vm.SnapshotSpec{Name: "ex", External: true}
	require.Equal(t, []string{"diskb is written, and has the format raw"}, s.tells(t, vm.CreatingSnapshot, internal))
	require.Len(t, s.tells(t, vm.CreatingSnapshot, vm.SnapshotSpec{Name: "../a"}), 2)

	s.run(t, "virsh", "-c", s.uri, "detach-disk", s.inst.Name, "vdb", "--config")
	s.create(t, internal)
	_, err := s.SnapshotBlockers(t.Context(), s.inst, vm.CreatingSnapshot, internal)
	require.ErrorIs(t, err, errors.ErrSnapshotExists)
	require.ErrorIs(t, s.CreateSnapshot(t.Context(), s.inst, internal), errors.ErrSnapshotCreation)
	for _, act := range []vm.SnapshotAct{vm.LoadingSnapshot, vm.DeletingSnapshot} {
		_, err := s.SnapshotBlockers(t.Context(), s.inst, act, vm.SnapshotSpec{Name: "nope"})
		require.ErrorIs(t, err, errors.ErrSnapshotNotFound)
		require.ErrorContains(t, err, `it has "in"`)
	}
	require.ErrorIs(t, s.LoadSnapshot(t.Context(), s.inst, "nope"), errors.ErrSnapshotNotFound)

	s.start(t)
	require.Len(t, s.tells(t, vm.CreatingSnapshot, external), 1, "it could not be deleted")
	s.create(t, vm.SnapshotSpec{Name: "mem"})
	s.run(t, "virsh", "-c", s.uri, "snapshot-create-as", s.inst.Name, "ex", "--disk-only")
	require.Len(t, s.tells(t, vm.DeletingSnapshot, external), 1)
	require.Equal(t, []string{"diska is written in " + s.dir + "/a.ex now, and the snapshot is in " + s.dir + "/a.qcow2"},
		s.tells(t, vm.LoadingSnapshot, internal))
}

func TestSnapshotOfAnotherMachine(t *testing.T) {
	s := newSnapBench(t, "qcow2")
	s.start(t)
	s.create(t, vm.SnapshotSpec{Name: "mem"})
	require.NoError(t, s.l.DomainDestroy(s.dom))
	s.run(t, "virsh", "-c", s.uri, "setmaxmem", s.inst.Name, "64M", "--config")
	s.plug(t, `<interface type='user'><model type='virtio'/></interface>`)
	require.Equal(t, []string{
		"memory was 32768 KiB when the snapshot was made, and is not now",
		"network card 0 was not there when the snapshot was made",
	}, s.tells(t, vm.LoadingSnapshot, vm.SnapshotSpec{Name: "mem"}))
	require.Empty(t, s.tells(t, vm.LoadingSnapshot, vm.SnapshotSpec{Name: "mem", NoMemory: true}))
	_, err := s.startFrom(t.Context(), s.inst.Name, s.dom, "mem")
	require.ErrorIs(t, err, errors.ErrSnapshotBlocked)
	require.ErrorContains(t, err, "memory was")
	require.Equal(t, libvirt.DomainShutoff, s.state(t))
}

// libvirt does not know of what is plugged through QMP, and would start QEMU without it.
func TestRestoreWithPluggedDevice(t *testing.T) {
	s := newSnapBench(t, "qcow2")
	text, err := s.l.DomainGetXMLDesc(s.dom, libvirt.DomainXMLInactive)
	require.NoError(t, err)
	define := func(args ...string) {
		var dom libvirtxml.Domain
		require.NoError(t, dom.Unmarshal(text))
		dom.QEMUCommandline = &libvirtxml.DomainQEMUCommandline{}
		for _, a := range args {
			dom.QEMUCommandline.Args = append(dom.QEMUCommandline.Args, libvirtxml.DomainQEMUCommandlineArg{Value: "-device"},
				libvirtxml.DomainQEMUCommandlineArg{Value: a})
		}
		text, err := dom.Marshal()
		require.NoError(t, err)
		_, err = s.l.DomainDefineXML(text)
		require.NoError(t, err)
	}
	const port, rng = "pcie-root-port,id=hotplug0,bus=pcie.0,chassis=200,addr=1c", "virtio-rng-pci,id=rng,bus=hotplug0"
	define(port)
	s.start(t)
	said, err := s.l.QEMUDomainMonitorCommand(s.dom, `{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","id":"rng","bus":"hotplug0"}}`, 0)
	require.NoError(t, err)
	require.Contains(t, said, "return")
	s.create(t, vm.SnapshotSpec{Name: "mem"})
	s.create(t, vm.SnapshotSpec{Name: "child"})
	require.NoError(t, s.l.DomainDestroy(s.dom))
	define(port, rng)
	dom, err := s.startFrom(t.Context(), s.inst.Name, s.dom, "mem")
	require.NoError(t, err)
	said, err = s.l.QEMUDomainMonitorCommand(dom, `{"execute":"qom-list","arguments":{"path":"/machine/peripheral"}}`, 0)
	require.NoError(t, err)
	require.Contains(t, said, "child<virtio-rng-pci>")
	list, _ := s.list(t)
	require.True(t, list["mem"].Current)
	require.Equal(t, "mem", list["child"].Parent)
}

func TestSnapshotsOfWhatLibvirtCantKeep(t *testing.T) {
	s := newSnapBench(t)
	require.Len(t, s.tells(t, vm.CreatingSnapshot, vm.SnapshotSpec{Name: "a"}), 1, "no disks")
	stranger := vm.Instance{ID: uuid.NewString(), Name: "stranger"}
	blockers, err := s.SnapshotBlockers(t.Context(), stranger, vm.CreatingSnapshot, vm.SnapshotSpec{Name: "a"})
	require.NoError(t, err)
	require.Len(t, blockers, 1)
	list, err := s.ListSnapshots(t.Context(), stranger)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, s.DeleteSnapshot(t.Context(), stranger, "a"))

	passing := vm.Instance{ID: uuid.NewString(), Name: "passing"}
	old := s.inst
	s.inst = passing
	dom, err := s.l.DomainCreateXML(s.xml(""), libvirt.DomainStartPaused|libvirt.DomainStartAutodestroy)
	require.NoError(t, err)
	require.Contains(t, s.tells(t, vm.CreatingSnapshot, vm.SnapshotSpec{Name: "a"})[0], "ephemeral")
	require.NoError(t, s.l.DomainDestroy(dom))
	s.inst = old
}

// What is in an image without libvirt's knowledge is of a libvirtd that died in the middle.
func TestDeleteWhatIsLeftOfASnapshot(t *testing.T) {
	s := newSnapBench(t, "qcow2")
	image := s.dir + "/a.qcow2"
	for _, live := range []bool{false, true} {
		if live {
			s.start(t)
		}
		s.create(t, vm.SnapshotSpec{Name: "half"})
		s.run(t, "virsh", "-c", s.uri, "snapshot-delete", s.inst.Name, "half", "--metadata")
		require.Contains(t, s.run(t, "qemu-img", "snapshot", "-U", "-l", image), "half")
		require.NoError(t, s.DeleteSnapshot(t.Context(), s.inst, "half"))
		require.NotContains(t, s.run(t, "qemu-img", "snapshot", "-U", "-l", image), "half")
		require.NoError(t, s.DeleteSnapshot(t.Context(), s.inst, "half"), "again")
		_, names := s.list(t)
		require.Empty(t, names)
	}
}

func TestSnapshotThatIsGivenUpBefore(t *testing.T) {
	s := newSnapBench(t, "qcow2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.CreateSnapshot(ctx, s.inst, vm.SnapshotSpec{Name: "a"}), context.Canceled)
	_, names := s.list(t)
	require.Empty(t, names)
}
