package process

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// problemOf returns the only problem that err has.
func problemOf(t *testing.T, err error) errors.Problem {
	t.Helper()
	var ce *errors.ConfigError
	require.ErrorAs(t, err, &ce)
	require.Len(t, ce.Problems, 1, "%v", ce)
	require.NotEmpty(t, ce.Problems[0].Fix)
	return ce.Problems[0]
}

func TestQEMUChoosesFreePorts(t *testing.T) {
	h := newHouse(t)
	fixed := freePort(t)
	g, spec := h.running(vm.Config{Networks: []vm.Network{
		{Forwards: []vm.Forward{{Guest: 80}, {Guest: 80}, {Guest: 53, Proto: "udp"}, {Guest: 80, Host: "0.0.0.0"}, {Port: fixed, Guest: 81}}},
		{Name: "other.net-1", Subnet: "10.9.8.0/24", Restrict: true, Forwards: []vm.Forward{{Guest: 80}}},
		{},
	}})
	forwards := g.Runtime().Forwards
	require.Len(t, forwards, 2)
	require.Len(t, forwards["net0"], 5)
	seen := map[int]bool{}
	for _, f := range append(forwards["net0"], forwards["other.net-1"]...) {
		require.Positive(t, f.Port, "%+v", f)
		if f.Proto == "udp" {
			continue
		}
		require.False(t, seen[f.Port], "port %d twice", f.Port)
		seen[f.Port] = true
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Port)))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	require.Equal(t, fixed, forwards["net0"][4].Port)

	t.Run("another process that finds the guest by itself", func(t *testing.T) {
		require.NoError(t, g.Release())
		inst := record(spec, g)
		inst.Runtime = vm.Runtime{}
		again, err := h.b.Attach(t.Context(), inst)
		require.NoError(t, err)
		require.Equal(t, len(forwards["net0"]), len(again.Runtime().Forwards["net0"]))
		require.Equal(t, forwards["other.net-1"], again.Runtime().Forwards["other.net-1"])
		require.NoError(t, again.Release())
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

func TestForwardsThatCannotBe(t *testing.T) {
	h := newHouse(t)
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	taken := tcp.Addr().(*net.TCPAddr).Port
	for name, c := range map[string]struct {
		forward vm.Forward
		message string
	}{
		"taken":               {vm.Forward{Port: taken, Guest: 80}, "is in use"},
		"taken for datagrams": {vm.Forward{Port: udp.LocalAddr().(*net.UDPAddr).Port, Guest: 80, Proto: "udp"}, "is in use"},
		"another's address":   {vm.Forward{Host: "192.0.2.77", Port: 8080, Guest: 80}, "no address 192.0.2.77"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specOf(vm.Config{Networks: []vm.Network{{}, {Name: "web", Forwards: []vm.Forward{{Guest: 1}, c.forward}}}})
			_, err := h.b.Launch(t.Context(), spec)
			require.ErrorIs(t, err, errors.ErrVMStart)
			p := problemOf(t, err)
			require.Equal(t, "networks[1].forwards[1].port", p.Field)
			require.Contains(t, p.Message, c.message)

			spec.Unplugged = []string{"web"}
			g := h.launch(spec)
			require.NoError(t, g.Connect(patient(t)), "a card that is not there needs no ports")
		})
	}
}

func TestUsernetIsReadStrictly(t *testing.T) {
	const text = "Hub -1 (net0):\r\n" +
		"  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n" +
		"  TCP[ESTABLISHED]   33       127.0.0.1 41234       10.0.2.15    80     0     0\r\n" +
		"  TCP[HOST_FORWARD]  10       127.0.0.1 39739       10.0.2.15    80     0     0\r\n" +
		"  TCP[HOST_FORWARD] 300               * 40969       10.0.2.15    80     0     0\r\n" +
		"  UDP[HOST_FORWARD]   9       127.0.0.1 51297       10.0.2.15    53     0     0\r\n" +
		"Hub 3 (a.b-c):\r\n" +
		"  TCP[HOST_FORWARD]  10       127.0.0.1 99999       10.0.2.15    80     0     0\r\n" +
		"  TCP[HOST_FORWARD]  10       127.0.0.1    22       10.0.3.15 65535     0     0\r\n" +
		"  TCP[HOST_FORWARD]  10       127.0.0.1    23       10.0.3.15 65535     0     0 more\r\n"
	row := func(card, host string, port, guest int, proto string) guestview.ForwardRow {
		return guestview.ForwardRow{Card: card, Forward: vm.Forward{Host: host, Port: port, Guest: guest, Proto: proto}}
	}
	require.Equal(t, []guestview.ForwardRow{
		row("net0", "127.0.0.1", 39739, 80, "tcp"), row("net0", "0.0.0.0", 40969, 80, "tcp"),
		row("net0", "127.0.0.1", 51297, 53, "udp"), row("a.b-c", "127.0.0.1", 22, 65535, "tcp"),
	}, guestview.ParseUsernet(text))
	require.Empty(t, guestview.ParseUsernet("what a future QEMU may say"))
}

func TestCaptureIsANewFile(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(h.dir, "a,b=c.pcap")
	cfg := vm.Config{Networks: []vm.Network{{Capture: path}, {Type: vm.NetworkSegment, Capture: path}}}
	for i, want := range []map[string]string{{"net0": path, "net1": path + ".1"}, {"net0": path + ".2", "net1": path + ".3"}} {
		g, _ := h.running(cfg)
		require.Equal(t, want, g.Runtime().Captures, "start %d", i)
		for _, file := range want {
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
			require.EqualValues(t, 24, info.Size(), "the header")
		}
	}
	_, err := h.b.Launch(t.Context(), specOf(vm.Config{Networks: []vm.Network{{Capture: filepath.Join(h.dir, "ok")}, {Capture: filepath.Join(h.dir, "none/x")}}}))
	require.Equal(t, "networks[1].capture", problemOf(t, err).Field)
	require.NoFileExists(t, filepath.Join(h.dir, "ok"), "what a failed launch made")
	err = h.b.Check(t.Context(), fixedID, vm.Config{Networks: []vm.Network{{Type: vm.NetworkNone, Capture: path}}})
	require.Equal(t, "networks[0].capture", problemOf(t, err).Field)
}

func TestModels(t *testing.T) {
	h := newHouse(t)
	var cfg vm.Config
	for i, model := range []string{"virtio", "e1000", "e1000e", "rtl8139", "virtio-net-pci-non-transitional", "vmxnet3"} {
		cfg.Networks = append(cfg.Networks, vm.Network{Model: model, Type: []string{vm.NetworkUser, vm.NetworkSegment, vm.NetworkNone}[i%3]})
	}
	cfg.Networks[0].BootOrder, cfg.Networks[5].BootOrder = 2, 1
	require.NoError(t, h.b.Check(t.Context(), fixedID, cfg))
	h.running(cfg)

	err := h.b.Check(t.Context(), fixedID, vm.Config{Networks: []vm.Network{{}, {Model: "e1001e"}}})
	p := problemOf(t, err)
	require.Equal(t, "networks[1].model", p.Field)
	require.Contains(t, p.Fix, "e1000e")
	err = h.b.Check(t.Context(), fixedID, vm.Config{Machine: "microvm", Networks: []vm.Network{{Model: "e1000e"}}})
	require.Equal(t, "networks[0].model", problemOf(t, err).Field)
}

// TestCardsOnSegments: what a guest leaves on a segment, and what the process does.
func TestCardsOnSegments(t *testing.T) {
	h := newHouse(t)
	cfg := vm.Config{Networks: []vm.Network{{Type: vm.NetworkSegment, Segment: "lan"}, {Type: vm.NetworkSegment, Segment: "lan"}}}
	g, spec := h.running(cfg)
	dir := segmentDir(filepath.Join(h.dir, "run"), "lan")
	names := func() (list []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			info, err := e.Info()
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
			list = append(list, e.Name())
		}
		return list
	}
	short := filepath.Base(g.Runtime().Dir)
	all := []string{short + ".0.port", short + ".1.port", "switch.lock", "switch.sock"}
	require.ElementsMatch(t, all, names())

	other, otherSpec := h.running(cfg)
	require.Len(t, names(), 6)
	require.NoError(t, g.Release())
	require.NoError(t, g.Release(), "again")
	require.Contains(t, names(), "switch.sock", "the other guest needs it")
	back, err := h.b.Attach(t.Context(), record(spec, g))
	require.NoError(t, err)
	h.end(other, otherSpec)
	require.ElementsMatch(t, all, names())
	h.end(back.(*guest), spec)
	require.Equal(t, []string{"switch.lock"}, names())
}

func TestAddressesForTheDefaultGuest(t *testing.T) {
	mac := func(i int) string { return guestview.DerivedMAC(fixedID, i) }
	lan := guestview.SegmentAddress("lan", mac(0))
	require.Regexp(t, `^10\.\d+\.\d+\.\d+/16$`, lan)
	for want, nets := range map[string][]vm.Network{
		"":                 {{}},
		mac(0) + "," + lan: {{Type: vm.NetworkSegment, Segment: "lan"}},
		mac(1) + "," + guestview.SegmentAddress("lan", mac(1)):                          {{}, {Type: vm.NetworkSegment, Segment: "lan"}},
		mac(0) + ",10.1.0.2/24;" + mac(2) + ",-":                                        {{Type: vm.NetworkSegment, Address: "10.1.0.2/24"}, {}, {}},
		mac(0) + ",192.168.4.15/22,192.168.4.2,192.168.4.3":                             {{Subnet: "192.168.4.0/22"}},
		mac(0) + ",-;" + mac(1) + ",10.3.0.1/24":                                        {{Type: vm.NetworkNone}, {Type: vm.NetworkNone, Address: "10.3.0.1/24"}},
		"52:54:00:aa:bb:cc," + guestview.SegmentAddress("default", "52:54:00:aa:bb:cc"): {{Type: vm.NetworkSegment, MAC: "52:54:00:AA:BB:CC"}},
	} {
		b := &builder{spec: vm.LaunchSpec{ID: fixedID, Config: vm.Config{Networks: nets}}}
		if want != "" {
			want = guestview.AddressParameter + want
		}
		require.Equal(t, want, guestview.Addresses(b.spec))
	}
	seen := map[string]bool{}
	for i := range 100 {
		address := guestview.SegmentAddress("lan", guestview.DerivedMAC(fmt.Sprint(i), 0))
		require.False(t, seen[address] || strings.HasPrefix(address, "10.0.") || strings.HasSuffix(address, ".0.0/16") || strings.HasSuffix(address, ".255.255/16"))
		seen[address] = true
	}
}

func TestPasstIsMissing(t *testing.T) {
	needQEMU(t)
	h := newHouse(t)
	binary, err := findBinary(vm.Config{}, "x86_64")
	require.NoError(t, err)
	t.Setenv("PATH", h.dir)
	err = h.b.Check(t.Context(), fixedID, vm.Config{Binary: binary, Networks: []vm.Network{{Type: vm.NetworkPasst}}})
	p := problemOf(t, err)
	require.Equal(t, "networks[0].type", p.Field)
	require.Contains(t, p.Fix, "package passt")
}
