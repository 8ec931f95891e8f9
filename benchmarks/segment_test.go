package benchmarks

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// BenchmarkSegment compares three guests on a segment, from the first call of Run until
// each has pinged each other, with the slowest of three boots without a network: one after
// the other, which is what enough cores would give, and side by side, which is what
// these give.
func BenchmarkSegment(b *testing.B) {
	for name, together := range map[string]bool{"one-by-one": false, "side-by-side": true} {
		b.Run(name, func(b *testing.B) {
			m := open(b)
			boot(b, m, vm.Network{Type: vm.NetworkNone}) // fills the caches
			compare(b, side{"segment", func(b *testing.B) time.Duration { return segmentUp(b, m) }},
				side{"slowest-boot", func(b *testing.B) time.Duration { return slowestBoot(b, m, together) }})
		})
	}
}

func boot(b *testing.B, m *maqet.Maqet, nets ...vm.Network) time.Duration {
	b.Helper()
	begun := time.Now()
	g, err := m.Run(b.Context(), vm.Config{Networks: nets})
	require.NoError(b, err)
	took := time.Since(begun)
	remove(b, g)
	return took
}

func remove(b *testing.B, machines ...*maqet.Machine) {
	b.Helper()
	for _, g := range machines {
		require.NoError(b, g.Remove(b.Context(), vm.ForceRemove()))
	}
}

// slowestBoot returns how long the slowest of three boots took.
func slowestBoot(b *testing.B, m *maqet.Maqet, together bool) (slowest time.Duration) {
	b.Helper()
	if !together {
		for range 3 {
			slowest = max(slowest, boot(b, m))
		}
		return slowest
	}
	begun := time.Now()
	machines := three(b, m)
	slowest = time.Since(begun)
	remove(b, machines...)
	return slowest
}

func three(b *testing.B, m *maqet.Maqet, nets ...vm.Network) []*maqet.Machine {
	b.Helper()
	machines := make([]*maqet.Machine, 3)
	var starts errgroup.Group
	for i := range machines {
		starts.Go(func() (err error) {
			machines[i], err = m.Run(b.Context(), vm.Config{Networks: nets})
			return err
		})
	}
	require.NoError(b, starts.Wait())
	return machines
}

func segmentUp(b *testing.B, m *maqet.Maqet) time.Duration {
	b.Helper()
	begun := time.Now()
	machines := three(b, m, vm.Network{Type: vm.NetworkSegment})
	addresses := make([]netip.Addr, len(machines))
	for i, g := range machines {
		addresses[i] = addressOf(b, g)
	}
	var pings errgroup.Group
	for i, from := range machines {
		for j, to := range addresses {
			if i == j {
				continue
			}
			pings.Go(func() error {
				_, err := from.Exec(b.Context(), "ping", "-c", "1", "-W", "20", to.String())
				return err
			})
		}
	}
	require.NoError(b, pings.Wait())
	took := time.Since(begun)
	remove(b, machines...)
	return took
}

func addressOf(b *testing.B, g *maqet.Machine) netip.Addr {
	b.Helper()
	list, err := g.Interfaces(b.Context())
	require.NoError(b, err)
	for _, i := range list {
		if ip := i.IPv4(); ip.IsValid() && !i.Loopback() {
			return ip
		}
	}
	b.Fatal("the guest has no address")
	return netip.Addr{}
}

// BenchmarkSegmentTraffic compares what two guests on a segment send each other with what they
// send over a wire: a pair of QEMU's stream netdevs with nothing in between.
func BenchmarkSegmentTraffic(b *testing.B) {
	m := open(b)
	dir, err := os.MkdirTemp("", "mqb-")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(dir)) })
	var machines []*maqet.Machine
	for i, role := range []string{"on", "off"} { // in this order: the second connects at once
		g, err := m.Run(b.Context(), vm.Config{
			Args: []string{"-netdev", "stream,id=wire,server=" + role + ",addr.type=unix,addr.path=" + dir + "/wire.sock",
				"-device", "virtio-net-pci,netdev=wire,id=wire,romfile=,mac=" + wireMAC(i)},
			Networks: []vm.Network{{Type: vm.NetworkSegment}},
		})
		require.NoError(b, err)
		card, _ := cards(b, g, wireMAC(i))
		_, err = g.Exec(b.Context(), "ip", "addr", "add", fmt.Sprintf("10.0.99.%d/24", i+1), "dev", card.Name)
		require.NoError(b, err)
		machines = append(machines, g)
	}
	_, onSegment := cards(b, machines[1], wireMAC(1))
	to := map[string]string{"segment": onSegment.IPv4().String(), "wire": "10.0.99.2"}
	for name, measure := range map[string]func(b *testing.B, from, at *maqet.Machine, to string) time.Duration{
		"ping": roundTrip, "tcp-32MiB": transfer,
	} {
		b.Run(name, func(b *testing.B) {
			over := func(kind string) side {
				return side{kind, func(b *testing.B) time.Duration { return measure(b, machines[0], machines[1], to[kind]) }}
			}
			compare(b, over("segment"), over("wire"))
		})
	}
}

func wireMAC(i int) string { return fmt.Sprintf("52:54:00:99:00:%02x", i) }

// cards returns the card with this MAC, and the other one.
func cards(b *testing.B, g *maqet.Machine, mac string) (wire, segment guest.Interface) {
	b.Helper()
	list, err := g.Interfaces(b.Context())
	require.NoError(b, err)
	for _, i := range list {
		switch {
		case i.Loopback():
		case i.MAC == mac:
			wire = i
		default:
			segment = i
		}
	}
	return wire, segment
}

var averageTrip = regexp.MustCompile(`min/avg/max = [0-9.]+/([0-9.]+)/`)

// roundTrip returns the average of twenty pings.
func roundTrip(b *testing.B, from, _ *maqet.Machine, to string) time.Duration {
	b.Helper()
	res, err := from.Exec(b.Context(), "ping", "-q", "-i", "0.02", "-c", "20", to)
	require.NoError(b, err)
	found := averageTrip.FindSubmatch(res.Stdout)
	require.Len(b, found, 2, string(res.Stdout))
	trip, err := time.ParseDuration(string(found[1]) + "ms")
	require.NoError(b, err)
	return trip
}

// transfer returns how long 32 MiB take by TCP, with the start of the program that sends them.
func transfer(b *testing.B, from, at *maqet.Machine, to string) time.Duration {
	b.Helper()
	received := make(chan error, 1)
	go func() {
		_, err := at.Exec(b.Context(), "sh", "-c", "nc -l -p 9000 > /dev/null")
		received <- err
	}()
	require.NoError(b, at.WaitFor(b.Context(), guest.PortOpen(9000)))
	begun := time.Now()
	_, err := from.Exec(b.Context(), "sh", "-c", `dd if=/dev/zero bs=64k count=512 | nc "$0" 9000`, to)
	require.NoError(b, err)
	require.NoError(b, <-received)
	return time.Since(begun)
}
