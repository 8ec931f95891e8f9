package backendtest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// system is the default guest, booted once for all cases that need one.
type system struct {
	*house
	guests   *guest.Manager
	inst     vm.Instance
	readOnly []byte // what is on the disk "ro"
	base     []byte // what is below the disk "over"
}

// systemCases work in one guest, in this order; the last ones stop it.
var systemCases = []struct {
	name string
	run  func(s *system)
}{
	{"Agent", testSystemAgent},
	{"Streams", testSystemStreams},
	{"AgentAndStreams", testSystemTurns},
	{"Console", testSystemConsole},
	{"Disks", testSystemDisks},
	{"ReadOnly", testSystemReadOnly},
	{"Layers", testSystemLayers},
	{"Networks", testSystemNetworks},
	{"Seed", testSystemSeed},
	{"Machine", testSystemMachine},
	{"Attached", testSystemAttached},
	{"StopByAgent", testSystemStop},
	{"SecondBoot", testSystemSecondBoot},
}

// The card whose address the configuration states.
const systemMAC = "52:54:00:ab:cd:ef"

func testSystem(p *place) {
	s := p.system()
	for _, c := range systemCases {
		p.Run(c.name, func(t *testing.T) {
			inner := *s
			house, place := *s.house, *s.place
			place.T, house.place, inner.house = t, &place, &house
			c.run(&inner)
			s.inst = inner.inst
		})
	}
}

// system boots the guest.
func (p *place) system() *system {
	b := p.o.Booter
	if b == nil {
		b = guest.NewBooter(guest.BooterOptions{})
	}
	h := p.house(b)
	s := &system{house: h, guests: guest.NewManager(h)}
	p.Cleanup(func() { require.NoError(p, s.guests.Close()) })
	s.readOnly, s.base = pattern("read-only", 1<<20), pattern("base", 2<<20)
	kept := true
	cfg := vm.Config{
		Disks: []vm.Disk{
			{Name: "first", Size: 16 * vm.MiB, Serial: "FIRST", Keep: &kept},
			{Name: "ro", Path: p.put(s.readOnly), Format: vm.FormatRaw, ReadOnly: true, Serial: "RO"},
			{Name: "over", Base: p.put(s.base), Format: vm.FormatRaw, Serial: "OVER"},
		},
		// Its disks hold no system.
		Boot:      vm.Boot{Kernel: "auto", Initrd: "auto"},
		Networks:  []vm.Network{{MAC: systemMAC}, {Type: vm.NetworkNone}},
		CloudInit: &vm.CloudInit{Hostname: "bt-seeded"},
	}
	inst := h.add(cfg)
	ctx, cancel := context.WithTimeout(p.Context(), bootTime)
	defer cancel()
	var err error
	s.inst, err = h.Start(ctx, inst.ID, vm.WaitFor(s.guests.Until(guest.AgentReady())))
	if errors.Is(err, errors.ErrKernelNotFound) {
		testhost.Lacks(p, err)
	}
	require.NoError(p, err)
	return s
}

// pattern is n bytes that name themselves.
func pattern(name string, n int) []byte { return bytes.Repeat([]byte(name+"\n"), n)[:n] }

// put makes a raw image.
func (p *place) put(data []byte) string {
	p.Helper()
	if p.h.Put != nil {
		return p.h.Put(p, data)
	}
	path := filepath.Join(p.TempDir(), "image.raw")
	require.NoError(p, os.WriteFile(path, data, 0o600))
	return path
}

// shell runs a line in the guest.
func (s *system) shell(line string) string {
	s.Helper()
	return s.shellOf(s.guests, line)
}

func (s *system) shellOf(m *guest.Manager, line string) string {
	s.Helper()
	res, err := m.Exec(s.patient(), s.inst.ID, guest.Command{Args: []string{"sh", "-c", line}})
	require.NoError(s, err, "%s\n%s", line, res.Stderr)
	return strings.TrimSpace(string(res.Stdout))
}

func testSystemAgent(s *system) {
	raw, err := s.guests.Agent(s.patient(), s.inst.ID, "guest-info", nil)
	require.NoError(s, err)
	require.Contains(s, string(raw), "guest-ping")
	_, err = s.guests.Agent(s.patient(), s.inst.ID, "no-such-command", nil)
	var refused *errors.QMPError
	require.ErrorAs(s, err, &refused)
	require.Equal(s, "CommandNotFound", refused.Class)
	ctx := s.cancelled()
	s.promptly("guest-ping", func() { require.ErrorIs(s, s.guests.Ping(ctx, s.inst.ID), context.Canceled) })
	require.NoError(s, s.guests.Ping(s.patient(), s.inst.ID))
}

// testSystemStreams: each of two processes has a stream of its own, through which much
// arrives whole.
func testSystemStreams(s *system) {
	other := guest.NewManager(s.other())
	defer func() { require.NoError(s, other.Close()) }()
	managers := []*guest.Manager{s.guests, other}
	data := pattern("streamed", 3<<20)
	together(2, func(i int) {
		path := "/tmp/streamed" + string(rune('a'+i))
		if err := managers[i].WriteFile(s.patient(), s.inst.ID, path, data, 0o600); err != nil {
			s.Errorf("WriteFile: %v", err)
			return
		}
		back, err := managers[1-i].ReadFile(s.patient(), s.inst.ID, path)
		if err != nil || !bytes.Equal(data, back) {
			s.Errorf("ReadFile: %d bytes, %v", len(back), err)
		}
	})
	require.Equal(s, "a program", s.shellOf(other, "echo a program"))
}

// testSystemTurns: the agent's channel is used by two processes in turns.
func testSystemTurns(s *system) {
	other := guest.NewManager(s.other())
	defer func() { require.NoError(s, other.Close()) }()
	together(4, func(i int) {
		for range 3 {
			if err := []*guest.Manager{s.guests, other}[i%2].Ping(s.patient(), s.inst.ID); err != nil {
				s.Errorf("guest-ping: %v", err)
			}
		}
	})
}

func testSystemConsole(s *system) {
	text, err := os.ReadFile(s.inst.Runtime.Console)
	require.NoError(s, err)
	require.Contains(s, string(text), "maqet-init: ready")
	s.shell("echo from the system > /dev/console")
	s.await("the console's text", func() bool {
		text, err := os.ReadFile(s.inst.Runtime.Console)
		return err == nil && strings.Contains(string(text), "from the system")
	})
}

// testSystemDisks: the disks have the order and the serial numbers of the configuration.
func testSystemDisks(s *system) {
	require.Equal(s, "FIRST RO OVER", s.shell("cd /sys/block; echo $(cat vda/serial) $(cat vdb/serial) $(cat vdc/serial)"))
	require.Equal(s, "32768 2048 4096", s.shell("cd /sys/block; echo $(cat vda/size) $(cat vdb/size) $(cat vdc/size)"))
	s.shell("echo kept > /dev/vda && sync")
	require.Equal(s, "kept", s.shell("head -n 1 /dev/vda"))
}

func testSystemReadOnly(s *system) {
	require.Equal(s, "1", s.shell("cat /sys/block/vdb/ro"))
	require.Equal(s, "read-only", s.shell("head -n 1 /dev/vdb"))
	require.Equal(s, "refused", s.shell("(echo x > /dev/vdb) 2>/dev/null && sync && echo written || echo refused"))
	s.unchanged(1, s.readOnly)
}

// unchanged fails if the image of a disk is another, where it can be looked at.
func (s *system) unchanged(disk int, want []byte) {
	s.Helper()
	d := s.inst.Config.Disks[disk]
	got, err := os.ReadFile(d.Path + d.Base)
	if s.h.Put == nil || err == nil {
		require.NoError(s, err)
		require.True(s, bytes.Equal(want, got), "%s was written", d.Path+d.Base)
	}
}

// testSystemLayers: what is written over a base stays in its layer.
func testSystemLayers(s *system) {
	require.Equal(s, "base", s.shell("head -n 1 /dev/vdc"))
	s.shell("echo layer > /dev/vdc && sync && echo 3 > /proc/sys/vm/drop_caches")
	require.Equal(s, "layer", s.shell("head -n 1 /dev/vdc"))
	s.unchanged(2, s.base)
}

// testSystemNetworks: the cards are those of the configuration, in order, and the one that was
// left open has the address that is recorded.
func testSystemNetworks(s *system) {
	list, err := s.guests.Interfaces(s.patient(), s.inst.ID)
	require.NoError(s, err)
	var macs []string
	for _, i := range list {
		if !i.Loopback() && strings.HasPrefix(i.Name, "eth") {
			macs = append(macs, i.MAC)
		}
	}
	require.Len(s, s.inst.Runtime.Cards, 2)
	require.Equal(s, []string{systemMAC, s.inst.Runtime.Cards[1].MAC}, macs)
	s.await("the address of the user network", func() bool { return strings.Contains(s.shell("ip addr show eth0"), "10.0.2.15") })
}

// testSystemSeed: the guest sees the image for cloud-init, by its label (ECMA-119, 8.4: the
// volume identifier is at byte 40 of sector 16).
func testSystemSeed(s *system) {
	found := s.shell(`for d in /dev/vd? /dev/sr?; do test -b $d && dd if=$d bs=1 skip=32808 count=6 2>/dev/null && echo; done; true`)
	require.Contains(s, strings.Fields(found), "cidata")
}

// testSystemMachine: the guest has the memory, the processors and the identity that its record
// says.
func testSystemMachine(s *system) {
	require.Equal(s, "1", s.shell("grep -c ^processor /proc/cpuinfo"))
	var kib int
	require.NoError(s, json.Unmarshal([]byte(s.shell(`sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo`)), &kib))
	require.Greater(s, kib, 150<<10)
	require.Less(s, kib, 256<<10)
	if uuid := s.shell("cat /sys/class/dmi/id/product_uuid 2>/dev/null || true"); uuid != "" {
		require.Equal(s, s.inst.ID, strings.ToLower(uuid))
	}
}

// testSystemAttached: who comes later can do everything.
func testSystemAttached(s *system) {
	b := s.open()
	g, err := b.Attach(s.patient(), throughJSON(s, s.inst))
	require.NoError(s, err)
	defer func() { require.NoError(s, g.Release()) }()
	require.True(s, s.running(g))
	require.Equal(s, s.inst.Runtime, g.Runtime())
	conn, err := g.Dial(s.patient(), vm.ChannelAgent, true)
	require.NoError(s, err)
	require.NoError(s, conn.Close())

	other := s.other()
	_, err = other.Live(s.patient(), s.inst.ID)
	require.NoError(s, err)
	require.Never(s, func() bool { // it looks in the background whether the devices are there
		now, err := s.Get(s.patient(), s.inst.ID)
		return err != nil || len(now.Unplugged) > 0
	}, 4*quiet, quiet/5, "devices were taken for unplugged")
}

// testSystemStop: the guest's agent is asked first, and what was made for this run goes.
func testSystemStop(s *system) {
	ctx, cancel := context.WithTimeout(s.Context(), bootTime)
	defer cancel()
	report, err := s.Stop(ctx, s.inst.ID, vm.StopTimeout(bootTime/2))
	require.NoError(s, err)
	require.Equal(s, "agent", report.Step, "%+v", report)
	require.True(s, report.Graceful)
	require.Len(s, report.Tried, 1)
	now := s.is(s.inst.ID, vm.Stopped, vm.ReasonStopped+": agent")
	require.False(s, now.Unclean)
	s.unchanged(1, s.readOnly)
	s.unchanged(2, s.base)
	if s.hostImages() == nil {
		files, err := s.images.Files(s.patient(), storage.FileFilter{Owner: s.inst.ID})
		require.NoError(s, err)
		require.Len(s, files, 1, "only the disk that is kept: %+v", files)
		require.Equal(s, "first", files[0].Disk)
	}
}

// hostImages are the images on the host of the backend; nil: they are this host's files.
func (p *place) hostImages() vm.HostImages {
	if b, ok := p.b.(vm.ImageHost); ok {
		return b.HostImages()
	}
	return nil
}

// testSystemSecondBoot: what is kept is there again, and nothing else. The guest then ends by
// its power button.
func testSystemSecondBoot(s *system) {
	ctx, cancel := context.WithTimeout(s.Context(), 2*bootTime)
	defer cancel()
	inst, err := s.Start(ctx, s.inst.ID, vm.WaitFor(s.guests.Until(guest.AgentReady())))
	require.NoError(s, err)
	require.Equal(s, s.inst.Runtime.Cards, inst.Runtime.Cards)
	require.Equal(s, "kept", s.shell("head -n 1 /dev/vda"))
	require.Equal(s, "base", s.shell("head -n 1 /dev/vdc"))

	g := s.liveGuest(s.inst.ID)
	require.NoError(s, rung(g, "acpi").Run(ctx))
	now := s.becomes(s.Manager, s.inst.ID)
	require.Equal(s, vm.Stopped, now.State)
	require.Equal(s, vm.ReasonGuestShutdown, now.Reason)
}
