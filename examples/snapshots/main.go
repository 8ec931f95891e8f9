// Command snapshots boots a Linux guest with a disk, makes snapshots of it, changes what is in
// its memory and on its disk, goes back, and prints the snapshots as a tree.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "snapshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, opts ...maqet.Option) (err error) {
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	g, err := m.Run(ctx, vm.Config{Disks: []vm.Disk{{Size: 64 * vm.MiB}}})
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return change(ctx, g, "installed") },
		func() error { return save(ctx, g, "installed") },
		func() error { return change(ctx, g, "configured") },
		func() error { return save(ctx, g, "configured", snapshot.Describe("with all its settings")) },
		func() error { return change(ctx, g, "broken") },
		func() error { return tell(ctx, out, g, "changed twice") },
		func() error { return g.Load(ctx, "installed") }, // the guest goes on from there, as if nothing had happened
		func() error { return tell(ctx, out, g, "back at the first") },
		func() error { return change(ctx, g, "updated") },
		func() error { return save(ctx, g, "updated") }, // beside "configured": both come from "installed"
		func() error { return g.Load(ctx, "configured") },
		func() error { return tell(ctx, out, g, "over to the other") },
		func() error { return show(ctx, out, g) },
		func() error { return g.DeleteSnapshot(ctx, "installed") },
		func() error { return show(ctx, out, g) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// change writes a word to a file in the guest's memory, and to its disk.
func change(ctx context.Context, g *maqet.Machine, word string) error {
	_, err := g.Exec(ctx, "sh", "-c", "echo "+word+" > /tmp/word; echo "+word+" > /dev/vda; sync")
	return err
}

// save makes a snapshot. What stands in its way comes all at once, with what to do about it.
func save(ctx context.Context, g *maqet.Machine, name string, opts ...snapshot.Option) error {
	_, err := g.Snapshot(ctx, name, opts...)
	var blocked *snapshot.BlockedError
	if errors.As(err, &blocked) {
		for _, b := range blocked.Blockers {
			err = errors.Join(err, fmt.Errorf("%s %s: %s", b.Device, b.Reason, b.Fix))
		}
	}
	return err
}

// tell prints the words that are in the guest.
func tell(ctx context.Context, out io.Writer, g *maqet.Machine, when string) error {
	res, err := g.Exec(ctx, "sh", "-c", "cat /tmp/word; head -n 1 /dev/vda")
	if err != nil {
		return err
	}
	words := strings.Fields(string(res.Stdout))
	_, err = fmt.Fprintf(out, "%s: memory says %q, disk says %q\n", when, words[0], words[1])
	return err
}

// show prints the snapshots as a tree. The one that the disks stand on has a star.
func show(ctx context.Context, out io.Writer, g *maqet.Machine) error {
	list, err := g.Snapshots(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, snapshot.FormatTree(snapshot.Tree(list), nil))
	return err
}
