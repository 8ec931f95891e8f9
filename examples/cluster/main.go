// Command cluster starts three guests on a network of their own, cuts one off and
// connects it again, and shows who reaches whom. It needs no rights and no setup of the
// host's network.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background(), func(format string, args ...any) { fmt.Printf(format, args...) }); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// node is one guest of the cluster.
type node struct {
	*maqet.Machine
	address netip.Addr
}

// say prints, as fmt.Printf does.
type say func(format string, args ...any)

func run(ctx context.Context, out say, opts ...maqet.Option) (err error) {
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	begun := time.Now()
	nodes, err := start(ctx, m, "one", "two", "three")
	if err != nil {
		return err
	}
	out("three guests are up after %v\n", time.Since(begun).Round(10*time.Millisecond))
	for _, n := range nodes {
		out("  %-6s %s\n", n, n.address)
	}
	out("who reaches whom:\n")
	show(ctx, out, nodes)

	out("the cable of %s is pulled:\n", nodes[2])
	if err := nodes[2].SetLink(ctx, "net0", false); err != nil {
		return err
	}
	show(ctx, out, nodes)

	out("the cable of %s is plugged in again:\n", nodes[2])
	if err := nodes[2].SetLink(ctx, "net0", true); err != nil {
		return err
	}
	show(ctx, out, nodes)
	return nil
}

// start starts guests side by side, all on the segment "cluster".
func start(ctx context.Context, m *maqet.Maqet, names ...string) ([]node, error) {
	nodes := make([]node, len(names))
	group, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		group.Go(func() (err error) {
			nodes[i].Machine, err = m.Run(ctx, vm.Config{
				Name:     name,
				Networks: []vm.Network{{Type: vm.NetworkSegment, Segment: "cluster"}},
			})
			if err != nil {
				return err
			}
			nodes[i].address, err = address(ctx, nodes[i].Machine)
			return err
		})
	}
	return nodes, group.Wait()
}

// address asks the guest for the address that its init gave the network card.
func address(ctx context.Context, g *maqet.Machine) (netip.Addr, error) {
	list, err := g.Interfaces(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, i := range list {
		if ip := i.IPv4(); ip.IsValid() && !i.Loopback() {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no address", g)
}

// show pings from each guest to each other, and says who answered.
func show(ctx context.Context, out say, nodes []node) {
	answered := make([][]bool, len(nodes))
	var pings sync.WaitGroup
	for i, from := range nodes {
		answered[i] = make([]bool, len(nodes))
		for j, to := range nodes {
			if i != j {
				pings.Go(func() { answered[i][j] = reaches(ctx, from, to) })
			}
		}
	}
	pings.Wait()
	for i, from := range nodes {
		out("  %-6s", from)
		for j, to := range nodes {
			switch {
			case i == j:
			case answered[i][j]:
				out(" reaches %s.", to)
			default:
				out(" does not reach %s.", to)
			}
		}
		out("\n")
	}
}

// reaches pings at most five times: a guest that just asked in vain for another's address
// drops what it sends in that second.
func reaches(ctx context.Context, from, to node) bool {
	_, err := from.Exec(ctx, "sh", "-c", `for i in 1 2 3 4 5; do ping -c 1 -W 1 "$0" && exit 0; done; exit 1`, to.address.String())
	return err == nil
}
