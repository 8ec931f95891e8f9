package snapshot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// ownScript prints what no two guests may have in common, one a line, and then the time. The
// random bytes come first: those after them are reseeded by being drawn.
const ownScript = `
hex() { hexdump -v -e '1/1 "%02x"'; echo; }
echo "random $(head -c 32 /dev/urandom | hex)"
echo "uuid $(cat /proc/sys/kernel/random/uuid)"
echo "host key $(head -c 32 /dev/random | hex)"
for n in /sys/class/net/eth*; do echo "MAC $(cat $n/address)"; done
echo "host name $(hostname)"
echo "machine ID $(cat /etc/machine-id)"
echo "address $(ip -4 addr show dev eth1 | sed -n 's/.*inet \([^ ]*\).*/\1/p')"
date +%s`

// owned are what a guest said.
type owned struct {
	ref   string
	lines []string
	clock time.Duration // how far it is from the host's
}

func (h *house) owned(ref string) (owned, error) {
	before := time.Now()
	res, err := h.guests.Exec(soon(h.t), ref, guest.Command{Args: []string{"sh", "-c", ownScript}})
	if err != nil {
		return owned{}, fmt.Errorf("%w: %s", err, res.Stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(res.Stdout)), "\n")
	var seconds int64
	if _, err := fmt.Sscan(lines[len(lines)-1], &seconds); err != nil {
		return owned{}, err
	}
	said := time.Unix(seconds, 0)
	o := owned{ref: ref, lines: lines[:len(lines)-1]}
	if said.Before(before.Truncate(time.Second)) {
		o.clock = before.Sub(said)
	} else if now := time.Now(); said.After(now) {
		o.clock = said.Sub(now)
	}
	return o, nil
}

// batch makes n forks at once, asks each, has check look at them while they live, and ends them.
func (h *house) batch(n int, check func([]owned), opts ...snapshot.ForkOption) {
	h.t.Helper()
	list := make([]owned, n)
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			f, err := h.snaps.Fork(soon(h.t), "one", opts...)
			if err == nil {
				list[i], err = h.owned(f.ID)
			}
			return err
		})
	}
	require.NoError(h.t, group.Wait())
	check(list)
	for _, o := range list {
		require.NoError(h.t, h.vms.Remove(soon(h.t), o.ref, vm.ForceRemove()))
	}
}

// common returns the lines that several guests have.
func common(list []owned) (shared []string) {
	seen := map[string]string{}
	for _, o := range list {
		for _, line := range o.lines {
			if other, ok := seen[line]; ok && other != o.ref {
				shared = append(shared, line)
			}
			seen[line] = o.ref
		}
	}
	return shared
}

// TestForksNeverShare: of 20 forks no two have a random byte, a name, an address or a write in
// common; their clocks are right although the template's was not. The same look at forks that
// are alike finds that they are.
func TestForksNeverShare(t *testing.T) {
	h := newHouse(t)
	cfg := templateGuest()
	cfg.Networks = append(cfg.Networks, vm.Network{Type: vm.NetworkSegment})
	h.boot(cfg)
	h.prepare("base")
	h.sh("base", "mkdir -p /dev/shm; date -s @1000000000")
	require.Equal(t, "2001", h.sh("base", "date +%Y"))
	h.capture("base", "one")

	var all []owned
	for batch := range 5 {
		h.batch(4, func(list []owned) {
			for i, o := range list {
				mine := fmt.Sprintf("batch %d, fork %d", batch, i)
				h.sh(o.ref, "cat /tmp/memory | grep -qx template; head -n1 /dev/vda | grep -qx template; test ! -e /dev/shm/mine")
				h.sh(o.ref, fmt.Sprintf("echo '%[1]s' | tee /tmp/memory /dev/shm/mine | dd of=/dev/vda conv=fsync 2>/dev/null", mine))
			}
			for i, o := range list {
				mine := fmt.Sprintf("batch %d, fork %d", batch, i)
				require.Equal(t, mine+"\n"+mine+"\n"+mine, h.sh(o.ref, "cat /tmp/memory /dev/shm/mine; head -n1 /dev/vda"))
			}
			if batch == 0 {
				h.requireReach(list[0], list[1])
				h.requireReach(list[1], list[0])
			}
			all = append(all, list...)
		})
	}
	require.Len(t, all, 20)
	for _, o := range all {
		require.Len(t, o.lines, 8, "%q", o.lines)
		require.Less(t, o.clock, 2*time.Second, "its clock")
		for _, line := range o.lines {
			require.Len(t, strings.SplitAfterN(line, " ", 2), 2, "%q", o.lines)
			require.NotEqual(t, byte(' '), line[len(line)-1], "%q", o.lines)
		}
	}
	require.Empty(t, common(all))

	h.batch(3, func(list []owned) {
		for _, o := range list {
			// A session with maqet's own init reseeds the random numbers, nothing else was done.
			require.Equal(t, list[0].lines[3:], o.lines[3:], "nothing has been done in these")
		}
		require.NotEmpty(t, common(list))
	}, snapshot.Alike(), snapshot.ForkConfig(func(c *vm.Config) { c.GenerationID = "11111111-2222-3333-4444-555555555555" }))
}

// requireReach fails unless a guest reaches another one by its address on the segment.
func (h *house) requireReach(from, to owned) {
	h.t.Helper()
	address := to.lines[len(to.lines)-1]
	address = strings.TrimPrefix(address[:strings.Index(address, "/")], "address ")
	h.sh(from.ref, "ping -c 1 -W 20 "+address)
}
