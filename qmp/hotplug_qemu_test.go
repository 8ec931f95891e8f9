package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// plugRig is a QEMU without a guest in it, with one connection for each of its managers.
type plugRig struct {
	t     *testing.T
	conns []Conn
}

// newPlugRig starts a QEMU with a machine and the monitors that are asked for.
func newPlugRig(t *testing.T, monitors int, args ...string) *plugRig {
	t.Helper()
	var files []*os.File
	var ours []net.Conn
	for i := range monitors {
		conn, server := pair(t)
		file, err := server.conn.File()
		require.NoError(t, err)
		require.NoError(t, server.conn.Close())
		files, ours = append(files, file), append(ours, conn)
		args = append(args, "-chardev", fmt.Sprintf("socket,id=m%d,fd=%d", i, 3+i), "-mon", fmt.Sprintf("chardev=m%d,mode=control", i))
	}
	_, stderr := launchQEMU(t, files, args...)
	rig := &plugRig{t: t}
	for _, conn := range ours {
		c := NewClient()
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		require.NoError(t, c.Connect(within(t, 30*time.Second), conn), "%s", stderr)
		rig.conns = append(rig.conns, c)
	}
	return rig
}

func (r *plugRig) manager(opts ...ManagerOption) *Manager {
	return NewManager(oneVM{r.conns[0]}, opts...)
}

// ports are arguments for a q35 with n ports.
func portArgs(n int, more ...string) []string {
	args := []string{"-M", "q35", "-device", "virtio-serial-pci,id=virtio-serial"}
	for i := range n {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d", i, i+1))
	}
	return append(args, more...)
}

// backends is everything that AddDevice may make in QEMU besides the device.
func (r *plugRig) backends() string {
	r.t.Helper()
	var all strings.Builder
	for command, args := range map[string]any{
		"query-named-block-nodes": nil, "query-chardev": nil, "qom-list": map[string]any{"path": "/objects"},
	} {
		out, err := r.conns[0].Execute(r.t.Context(), command, args)
		require.NoError(r.t, err)
		all.Write(out)
	}
	return all.String()
}

func (r *plugRig) devices() (ids []string) {
	r.t.Helper()
	members, err := plug{r.manager(), "web"}.list(r.t.Context(), "/machine/peripheral")
	require.NoError(r.t, err)
	for _, m := range members {
		if m.Name != "type" && m.Name != "virtio-serial" && !strings.HasPrefix(m.Name, "port") {
			ids = append(ids, m.Name)
		}
	}
	slices.Sort(ids)
	return ids
}

// requireNothingOf checks that QEMU has neither the device nor its backends.
func (r *plugRig) requireNothingOf(id string) {
	r.t.Helper()
	require.NotContains(r.t, r.devices(), id)
	require.NotContains(r.t, r.backends(), `"`+id+`"`)
	require.NotContains(r.t, r.backends(), `"`+id+`-file"`)
	_, err := r.conns[0].Execute(r.t.Context(), "netdev_del", map[string]string{"id": id})
	require.True(r.t, hasClass(err, "DeviceNotFound"), "%v", err)
}

func rawImage(t *testing.T) *Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.raw")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	return &Disk{Path: path, Format: "raw"}
}

// TestPlugQEMUBackends plugs each kind into a QEMU whose guest is halted: who needs the
// guest to go stays, and says so at once; who does not, goes.
func TestPlugQEMUBackends(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(5, "-m", "size=128M,slots=2,maxmem=512M", "-smp", "cpus=1,maxcpus=2", "-device", "virtio-scsi-pci,id=scsi", "-device", "qemu-xhci,id=usb")...)
	m := rig.manager()
	socket := socketPath(t, "port")
	for _, c := range []struct {
		device Device
		quits  bool // it needs no guest to go
	}{
		{device: Device{ID: "blk", Disk: rawImage(t)}},
		{device: Device{ID: "net", NIC: &NIC{}}},
		{device: Device{ID: "rng", RNG: &RNG{}}},
		{device: Device{ID: "ctl", Driver: "virtio-scsi-pci"}},
		{device: Device{ID: "dimm", Memory: &Memory{Size: 128 << 20}}},
		{device: Device{ID: "lun", Disk: &Disk{Path: rawImage(t).Path, Format: "raw", Interface: DiskSCSI}}, quits: true},
		{device: Device{ID: "stick", Disk: &Disk{Path: rawImage(t).Path, Format: "raw", Interface: DiskUSB}}, quits: true},
		{device: Device{ID: "sock", Serial: &SerialPort{Name: "a", Socket: socket}}, quits: true},
		{device: Device{ID: "null", Serial: &SerialPort{Name: "b"}}, quits: true},
	} {
		t.Run(c.device.ID, func(t *testing.T) {
			require.NoError(t, m.AddDevice(t.Context(), "web", c.device))
			require.Contains(t, rig.devices(), c.device.ID)
			err := m.AddDevice(t.Context(), "web", c.device)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration, "it is there")
			begun := time.Now()
			err = m.RemoveDevice(t.Context(), "web", c.device.ID)
			if c.quits {
				require.NoError(t, err)
				rig.requireNothingOf(c.device.ID)
				return
			}
			require.ErrorIs(t, err, errors.ErrDeviceBusy)
			require.ErrorContains(t, err, "prelaunch")
			require.Less(t, time.Since(begun), 2*time.Second)
			require.Contains(t, rig.devices(), c.device.ID)
		})
	}
	require.NoFileExists(t, socket)
	t.Run("CPU", func(t *testing.T) {
		require.NoError(t, m.AddDevice(t.Context(), "web", Device{ID: "cpu1", CPU: &CPU{}}))
		err := m.RemoveDevice(t.Context(), "web", "cpu1")
		require.ErrorIs(t, err, errors.ErrQMPUnsupported, "QEMU emulates it")
		err = m.AddDevice(t.Context(), "web", Device{ID: "cpu2", CPU: &CPU{}})
		require.ErrorIs(t, err, errors.ErrQMPUnsupported)
		require.ErrorContains(t, err, "vm.Config.CPU.Max")
	})
	t.Run("not hot-pluggable", func(t *testing.T) {
		err := m.RemoveDevice(t.Context(), "web", "scsi")
		require.ErrorIs(t, err, errors.ErrQMPUnsupported)
		require.ErrorContains(t, err, "AddDevice")
	})
}

// TestPlugQEMUNoRoom: each kind of place that is not there has its own field.
func TestPlugQEMUNoRoom(t *testing.T) {
	full := newPlugRig(t, 1, portArgs(1, "-m", "size=128M,slots=1,maxmem=512M")...)
	require.NoError(t, full.manager().AddDevice(t.Context(), "web", Device{ID: "first", RNG: &RNG{}}))
	require.NoError(t, full.manager().AddDevice(t.Context(), "web", Device{ID: "dimm", Memory: &Memory{Size: 128 << 20}}))
	none, micro := newPlugRig(t, 1, "-M", "q35"), newPlugRig(t, 1, "-M", "microvm")
	dimm, lun := &Memory{Size: 128 << 20}, &Disk{Path: "/nowhere", Format: "raw", Interface: DiskSCSI}
	for name, c := range map[string]struct {
		rig    *plugRig
		device Device
		text   string
	}{
		"ports are taken":        {full, Device{ID: "x", RNG: &RNG{}}, "all 1 PCI Express ports"},
		"slots are taken":        {full, Device{ID: "x", Memory: dimm}, "all 1 memory slots"},
		"no ports":               {none, Device{ID: "x", NIC: &NIC{}}, "vm.Config.HotplugPorts"},
		"no ports for others":    {none, Device{ID: "x", Driver: "virtio-balloon-pci"}, "vm.Config.HotplugPorts"},
		"no memory slots":        {none, Device{ID: "x", Memory: dimm}, "vm.Config.MaxMemory"},
		"no CPU slots":           {none, Device{ID: "x", CPU: &CPU{}}, "vm.Config.CPU.Max"},
		"no serial bus":          {none, Device{ID: "x", Serial: &SerialPort{Name: "a"}}, "vm.Config.Agent"},
		"no SCSI bus":            {none, Device{ID: "x", Disk: lun}, "virtio-scsi-pci"},
		"microvm":                {micro, Device{ID: "x", RNG: &RNG{}}, "microvm"},
		"microvm without memory": {micro, Device{ID: "x", Memory: dimm}, "vm.Config.MaxMemory"},
		"microvm without CPUs":   {micro, Device{ID: "x", CPU: &CPU{}}, "vm.Config.CPU.Max"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.rig.manager().AddDevice(t.Context(), "web", c.device)
			require.ErrorIs(t, err, errors.ErrQMPUnsupported)
			require.ErrorContains(t, err, c.text)
			c.rig.requireNothingOf("x")
		})
	}
	large := newPlugRig(t, 1, "-M", "q35", "-m", "size=128M,slots=1,maxmem=256M")
	err := large.manager().AddDevice(t.Context(), "web", Device{ID: "x", Memory: &Memory{Size: 256 << 20}})
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.ErrorContains(t, err, "vm.Config.MaxMemory")
}

// TestPlugQEMUUndo: what QEMU refuses leaves nothing behind.
func TestPlugQEMUUndo(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(2, "-m", "size=128M,slots=2,maxmem=512M")...)
	bad := map[string]any{"no-such-property": 1}
	for _, d := range []Device{
		{ID: "x", Disk: rawImage(t), Props: bad}, {ID: "x", NIC: &NIC{}, Props: bad}, {ID: "x", RNG: &RNG{}, Props: bad},
		{ID: "x", Serial: &SerialPort{Name: "a"}, Props: bad}, {ID: "x", Memory: &Memory{Size: 128 << 20}, Props: bad},
		{ID: "x", Disk: &Disk{Path: "/nowhere/a.raw", Format: "raw"}}, {ID: "x", RNG: &RNG{}, Bus: "nowhere"}, {ID: "x", Driver: "no-such-driver"},
	} {
		err := rig.manager().AddDevice(t.Context(), "web", d)
		var refused *errors.QMPError
		require.ErrorAs(t, err, &refused, "%+v", d)
		require.Equal(t, "web", refused.VM)
		rig.requireNothingOf("x")
	}
	err := NewManager(oneVM{rig.conns[0]}, WithPolicy(Policy{Privileged: Deny})).AddDevice(t.Context(), "web", Device{ID: "x", RNG: &RNG{}})
	require.ErrorIs(t, err, errors.ErrQMPDenied)
	rig.requireNothingOf("x")
}

// TestPlugQEMULeftovers: what a process left that died half-way is cleared.
func TestPlugQEMULeftovers(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(1)...)
	m := rig.manager()
	for _, d := range []Device{{ID: "x", Disk: rawImage(t)}, {ID: "x", NIC: &NIC{}}, {ID: "x", RNG: &RNG{}}, {ID: "x", Serial: &SerialPort{Name: "a"}}} {
		backend := d.Parts()[0]
		_, err := rig.conns[0].Execute(t.Context(), makers[backend.Option], backend.Args)
		require.NoError(t, err)
		require.ErrorIs(t, m.AddDevice(t.Context(), "web", d), errors.ErrQMPCommand, "the name is taken")
		require.NoError(t, m.RemoveDevice(t.Context(), "web", "x"))
		rig.requireNothingOf("x")
		err = m.RemoveDevice(t.Context(), "web", "x")
		require.True(t, hasClass(err, "DeviceNotFound"), "%v", err)
	}
	require.ErrorIs(t, m.RemoveDevice(t.Context(), "web", "../x"), errors.ErrConfigValidation)
	require.ErrorIs(t, m.RemoveDevice(t.Context(), "other", "x"), errors.ErrVMNotFound)
}

// TestPlugQEMUOnPC: the machine "pc" takes devices on its root bus.
func TestPlugQEMUOnPC(t *testing.T) {
	rig := newPlugRig(t, 1, "-M", "pc")
	rec := &recorder{}
	require.NoError(t, rig.manager(WithRecorder(rec)).AddDevice(t.Context(), "web", Device{ID: "x", Driver: "virtio-balloon-pci"}))
	require.Equal(t, "pci.0", rec.added["x"].Bus)
}

// TestPlugQEMUCPUSlots: the lowest that is free, or the one that is asked for.
func TestPlugQEMUCPUSlots(t *testing.T) {
	rig := newPlugRig(t, 1, "-M", "q35", "-smp", "cpus=1,maxcpus=4")
	rec := &recorder{}
	m := rig.manager(WithRecorder(rec))
	for _, c := range []struct {
		props map[string]any
		want  float64
	}{{map[string]any{"core-id": 3}, 3}, {nil, 1}, {map[string]any{}, 2}} {
		require.NoError(t, m.AddDevice(t.Context(), "web", Device{ID: fmt.Sprintf("cpu%v", c.want), CPU: &CPU{}, Props: c.props}))
		require.EqualValues(t, c.want, rec.added[fmt.Sprintf("cpu%v", c.want)].Props["core-id"])
	}
	err := m.AddDevice(t.Context(), "web", Device{ID: "again", CPU: &CPU{}, Props: map[string]any{"core-id": 1}})
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
}

// TestPlugQEMUTogether: several processes find a port for each of their devices.
func TestPlugQEMUTogether(t *testing.T) {
	const each, processes = 4, 3
	rig := newPlugRig(t, processes, portArgs(each*processes)...)
	rec := &recorder{}
	var wg sync.WaitGroup
	for p, conn := range rig.conns {
		m := NewManager(oneVM{conn}, WithRecorder(rec))
		for i := range each {
			wg.Go(func() {
				require.NoError(t, m.AddDevice(t.Context(), "web", Device{ID: fmt.Sprintf("d%d-%d", p, i), RNG: &RNG{}}))
			})
		}
	}
	wg.Wait()
	buses := map[string]bool{}
	for _, d := range rec.added {
		require.Equal(t, driverRNG, d.Driver)
		buses[d.Bus] = true
	}
	require.Len(t, buses, each*processes)
}

// cutConn ends a context with the n-th command, before it is sent or when it is answered.
type cutConn struct {
	Conn
	after  int
	before bool
	cancel context.CancelFunc
}

func (c *cutConn) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	c.after--
	if c.after == 0 && c.before {
		c.cancel()
	}
	out, err := c.Conn.Execute(ctx, command, args)
	if c.after == 0 && !c.before {
		c.cancel()
	}
	return out, err
}

// TestPlugQEMUCancelled cancels at each command: either the device is there and recorded,
// or nothing is.
func TestPlugQEMUCancelled(t *testing.T) {
	rig := newPlugRig(t, 1, portArgs(2)...)
	disk := rawImage(t)
	for _, before := range []bool{true, false} {
		plugged := false
		for n := 1; !plugged; n++ {
			require.Less(t, n, 20)
			ctx, cancel := context.WithCancel(t.Context())
			rec := &recorder{}
			m := NewManager(oneVM{&cutConn{Conn: rig.conns[0], after: n, before: before, cancel: cancel}}, WithRecorder(rec))
			id := fmt.Sprintf("x%v", before)
			begun := time.Now()
			err := m.AddDevice(ctx, "web", Device{ID: id, Disk: disk})
			require.Less(t, time.Since(begun), 2*time.Second)
			plugged = err == nil
			if plugged {
				require.Contains(t, rig.devices(), id)
				require.Contains(t, rec.added, id)
				require.Greater(t, n, 4)
				disk = rawImage(t)
			} else {
				require.ErrorIs(t, err, context.Canceled)
				require.Empty(t, rec.added)
				rig.requireNothingOf(id)
			}
		}
	}
}

// recorder is a Recorder that keeps what it is told.
type recorder struct {
	mu      sync.Mutex
	added   map[string]Device
	removed []string
	known   string // the one device that it can forget
	err     error
}

func (r *recorder) ForgetDevice(_ context.Context, _, id string) (bool, error) {
	return id == r.known, r.err
}

func (r *recorder) DeviceAdded(_ context.Context, _ string, d Device) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.added == nil {
		r.added = map[string]Device{}
	}
	r.added[d.ID] = d
	return r.err
}

func (r *recorder) DeviceRemoved(_ context.Context, _, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = append(r.removed, id)
	return r.err
}
