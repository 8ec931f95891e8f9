package maqet_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// runAll starts guests side by side.
func runAll(t *testing.T, m *maqet.Maqet, configs ...vm.Config) []*maqet.Machine {
	t.Helper()
	machines := make([]*maqet.Machine, len(configs))
	var starts errgroup.Group
	for i, cfg := range configs {
		starts.Go(func() (err error) {
			machines[i], err = m.Run(t.Context(), cfg)
			return err
		})
	}
	require.NoError(t, starts.Wait())
	return machines
}

// addressOf returns the IPv4 address of a guest's card.
func addressOf(t *testing.T, g *maqet.Machine, name string) netip.Addr {
	t.Helper()
	list, err := g.Interfaces(t.Context())
	require.NoError(t, err)
	for _, i := range list {
		if i.Name == name {
			return i.IPv4()
		}
	}
	t.Fatalf("%s has no %s: %+v", g, name, list)
	return netip.Addr{}
}

// ping asks again each second, so many times: a guest that just looked for another's address
// in vain drops what it sends meanwhile.
func ping(t *testing.T, from *maqet.Machine, to netip.Addr, tries int) error {
	t.Helper()
	_, err := from.Exec(t.Context(), "sh", "-c",
		`for i in $(seq "$1"); do ping -c 1 -W 1 "$0" && exit 0; done; exit 1`, to.String(), strconv.Itoa(tries))
	return err
}

// How often to ask whom one reaches, and whom not.
const (
	answered   = 30
	unanswered = 1
)

// TestSegment works on three guests that only have each other.
func TestSegment(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	capture := filepath.Join(dir, "b.pcap")
	require.NoError(t, os.WriteFile(capture, []byte("mine"), 0o600))
	lan := vm.Network{Type: vm.NetworkSegment, Segment: "lan"}
	captured := lan
	captured.Capture = capture
	alone := vm.Network{Type: vm.NetworkSegment, Segment: "other", Address: "10.0.77.3/24"}
	guests := runAll(t, m, vm.Config{Name: "a", Networks: []vm.Network{lan}},
		vm.Config{Name: "b", Networks: []vm.Network{captured}},
		vm.Config{Name: "c", Networks: []vm.Network{lan, alone, {Type: vm.NetworkNone}}})
	a, b, c := guests[0], guests[1], guests[2]
	addresses := []netip.Addr{addressOf(t, a, "eth0"), addressOf(t, b, "eth0"), addressOf(t, c, "eth0")}

	t.Run("all reach all", func(t *testing.T) {
		for _, from := range guests {
			for _, to := range addresses {
				require.NoError(t, ping(t, from, to, answered))
			}
		}
		require.Equal(t, "10.0.77.3", addressOf(t, c, "eth1").String())
		require.False(t, addressOf(t, c, "eth2").IsValid())
		require.Error(t, ping(t, a, addressOf(t, c, "eth1"), unanswered), "it is on another segment")
	})
	t.Run("link", func(t *testing.T) {
		require.NoError(t, b.SetLink(t.Context(), "net0", false))
		require.Error(t, ping(t, a, addresses[1], unanswered))
		require.NoError(t, b.SetLink(t.Context(), "net0", true))
		require.NoError(t, ping(t, a, addresses[1], answered))
		err := b.SetLink(t.Context(), "net7", true)
		require.ErrorIs(t, err, errors.ErrQMPCommand)
		require.ErrorContains(t, err, "net0")
	})
	t.Run("capture", func(t *testing.T) {
		inst, err := b.Instance(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[string]string{"net0": capture + ".1"}, inst.Runtime.Captures)
		mine, err := os.ReadFile(capture)
		require.NoError(t, err)
		require.Equal(t, "mine", string(mine))
		info, err := os.Stat(capture + ".1")
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		require.Positive(t, echoes(t, capture+".1", addresses[0], addresses[1]))
	})
	t.Run("dial", func(t *testing.T) { dialIn(t, a, b, addresses[1]) })
	t.Run("another MAC and address", func(t *testing.T) {
		res, err := a.Exec(t.Context(), "cat", "/sys/class/net/eth0/address")
		require.NoError(t, err)
		to := netip.PrefixFrom(addresses[1].Next(), 16)
		change := vm.CardChange{From: strings.TrimSpace(string(res.Stdout)), MAC: "52:54:00:fe:ed:01", Address: to.String()}
		require.NoError(t, m.Guest.Individualize(t.Context(), a.ID(), vm.Identity{Cards: []vm.CardChange{change}}))
		require.NoError(t, ping(t, c, to.Addr(), answered))
		require.Error(t, ping(t, c, addresses[0], unanswered), "nobody has it any more")
		res, err = c.Exec(t.Context(), "cat", "/proc/net/arp")
		require.NoError(t, err)
		require.Regexp(t, regexp.QuoteMeta(to.Addr().String())+` .* 52:54:00:fe:ed:01 `, string(res.Stdout))
	})
}

// echoes counts the echo requests in a pcap file (the format's documentation is
// pcap-savefile(5)), as written on a little-endian host.
func echoes(t *testing.T, path string, from, to netip.Addr) (n int) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Greater(t, len(data), 24)
	require.Equal(t, uint32(0xa1b2c3d4), binary.LittleEndian.Uint32(data))
	require.Equal(t, uint32(1), binary.LittleEndian.Uint32(data[20:]), "Ethernet")
	for data = data[24:]; len(data) >= 16; {
		size := int(binary.LittleEndian.Uint32(data[8:]))
		require.GreaterOrEqual(t, len(data), 16+size)
		p := data[16 : 16+size]
		data = data[16+size:]
		const ipv4, icmp, request = 0x0800, 1, 8
		if len(p) >= 42 && binary.BigEndian.Uint16(p[12:]) == ipv4 && p[23] == icmp && p[34] == request &&
			netip.AddrFrom4([4]byte(p[26:30])) == from && netip.AddrFrom4([4]byte(p[30:34])) == to {
			n++
		}
	}
	return n
}

// dialIn connects to servers in a guest that no forward leads to.
func dialIn(t *testing.T, a, b *maqet.Machine, address netip.Addr) {
	_, err := b.Dial(t.Context(), "tcp", ":8080")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	for _, wrong := range []string{"udp :1", "tcp :0", "tcp elsewhere:1", "tcp 1"} {
		network, to, _ := strings.Cut(wrong, " ")
		_, err := b.Dial(t.Context(), network, to)
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration, wrong)
	}
	body := strings.Repeat("0123456789abcdef", 1<<14)
	_, err = b.Exec(t.Context(), "mkdir", "/tmp/www")
	require.NoError(t, err)
	require.NoError(t, b.WriteFile(t.Context(), "/tmp/www/file", []byte(body), 0o644))
	_, err = b.Exec(t.Context(), "httpd", "-p", "8080", "-h", "/tmp/www")
	require.NoError(t, err)
	require.NoError(t, b.WaitFor(t.Context(), guest.PortOpen(8080), guest.HTTPOK(8080, "/file")))

	t.Run("side by side", func(t *testing.T) {
		var calls errgroup.Group
		for range 10 {
			calls.Go(func() error {
				got, err := get(t.Context(), client(b), "http://localhost:8080/file")
				if err == nil && got != body {
					err = fmt.Errorf("got %d bytes", len(got))
				}
				return err
			})
		}
		require.NoError(t, calls.Wait())
	})
	t.Run("another guest", func(t *testing.T) { // over the segment
		got, err := get(t.Context(), client(a), "http://"+net.JoinHostPort(address.String(), "8080")+"/file")
		require.NoError(t, err)
		require.Equal(t, body, got)
	})
	t.Run("not found", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := b.WaitFor(ctx, guest.HTTPOK(8080, "/none"))
		require.ErrorIs(t, err, errors.ErrWaitTimeout)
		require.ErrorContains(t, err, "404")
	})
	t.Run("half closed", func(t *testing.T) { closeHalf(t, b) })
}

// closeHalf sends all, says that it is all, and reads the answer.
func closeHalf(t *testing.T, g *maqet.Machine) {
	serve := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, err := g.Exec(ctx, "nc", "-l", "-p", "9000", "-e", "wc", "-c")
		serve <- err
	}()
	require.NoError(t, g.WaitFor(t.Context(), guest.PortOpen(9000)))
	conn, err := g.Dial(t.Context(), "tcp", "localhost:9000")
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, "127.0.0.1:9000", conn.RemoteAddr().String())

	require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	_, err = conn.Write(make([]byte, 100_000))
	require.NoError(t, err)
	half, ok := conn.(interface{ CloseWrite() error })
	require.True(t, ok)
	require.NoError(t, half.CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "100000", strings.TrimSpace(string(answer)))
	require.NoError(t, <-serve)
}

// client talks HTTP to servers in a guest.
func client(g *maqet.Machine) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: g.Dial, DisableKeepAlives: true}}
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(body), errors.Join(err, res.Body.Close())
}

// TestSegmentOfTwoProcesses: another process starts a guest and passes the frames on; when
// it is killed this one does.
func TestSegmentOfTwoProcesses(t *testing.T) {
	dir := shortDir(t)
	p := startChild(t, "segment", dir, vm.Persistent)
	p.await("running")
	m := open(t, dir)
	here, err := m.Run(t.Context(), vm.Config{Name: "here", Networks: []vm.Network{{Type: vm.NetworkSegment}}})
	require.NoError(t, err)
	there, err := m.Machine(t.Context(), victim)
	require.NoError(t, err)
	address := addressOf(t, there, "eth0")
	require.NoError(t, ping(t, here, address, answered))
	p.kill()
	require.NoError(t, ping(t, here, address, answered))
	require.NoError(t, there.Remove(t.Context(), vm.ForceRemove()))
}
