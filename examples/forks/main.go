// Command forks boots a Linux guest once, and goes on with copies of it: each has what was in the
// first one's memory, and none sees what another one does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background(), log.New(os.Stdout, "", 0)); err != nil {
		fmt.Fprintln(os.Stderr, "forks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out *log.Logger, opts ...maqet.Option) (err error) {
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	for _, part := range []func(context.Context, *log.Logger, *maqet.Maqet) error{base, copies, reset, tree, pool} {
		if err := part(ctx, out, m); err != nil {
			return err
		}
	}
	return nil
}

// base boots a guest, sets it up, and makes a template of it.
func base(ctx context.Context, out *log.Logger, m *maqet.Maqet) error {
	g, err := m.Run(ctx, vm.Config{Template: true}) // its memory is laid out for that
	if err != nil {
		return err
	}
	if _, err := g.Exec(ctx, "sh", "-c", "echo fixtures > /tmp/state"); err != nil {
		return err
	}
	t, err := g.Capture(ctx, "base") // that ends the guest
	out.Printf("captured, standing still for %v\n", t.Pause.Round(time.Millisecond))
	return err
}

// copies makes three forks at once, each of which changes what it finds.
func copies(ctx context.Context, out *log.Logger, m *maqet.Maqet) error {
	var group errgroup.Group
	said := make([]string, 3)
	for i := range said {
		group.Go(func() error {
			g, err := m.Fork(ctx, "base") // its agent has answered, and it is somebody of its own
			if err != nil {
				return err
			}
			said[i], err = sh(ctx, g, fmt.Sprintf("echo of fork %d >> /tmp/state; cat /tmp/state", i+1))
			return errors.Join(err, g.Remove(ctx, vm.ForceRemove()))
		})
	}
	err := group.Wait()
	for i, text := range said {
		out.Printf("fork %d has: %s\n", i+1, text)
	}
	return err
}

// reset uses one fork twice.
func reset(ctx context.Context, out *log.Logger, m *maqet.Maqet) error {
	g, err := m.Fork(ctx, "base")
	if err != nil {
		return err
	}
	if _, err := g.Exec(ctx, "rm", "-r", "/tmp", "/bin/busybox"); err != nil {
		return err
	}
	if err := g.ResetToTemplate(ctx); err != nil {
		return err
	}
	text, err := sh(ctx, g, "cat /tmp/state")
	out.Println("after the reset:", text)
	return errors.Join(err, g.Remove(ctx, vm.ForceRemove()))
}

// tree makes a template of a fork in which more has been set up.
func tree(ctx context.Context, out *log.Logger, m *maqet.Maqet) error {
	g, err := m.Fork(ctx, "base", snapshot.ForkForCapture())
	if err != nil {
		return err
	}
	if _, err := g.Exec(ctx, "sh", "-c", "echo a database >> /tmp/state"); err != nil {
		return err
	}
	if _, err := g.Capture(ctx, "with-database"); err != nil {
		return err
	}
	// What something stands on can't be deleted.
	err = m.Snapshot.DeleteTemplate(ctx, "base")
	out.Println("base can't be deleted:", err != nil)
	return nil
}

// pool takes forks from a pool that has them ready.
func pool(ctx context.Context, out *log.Logger, m *maqet.Maqet) (err error) {
	p, err := m.NewPool(ctx, "with-database", snapshot.PoolOptions{Size: 2, Memory: vm.GiB})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for range 3 {
		g, err := p.Get(ctx) // another one is made in the background
		if err != nil {
			return err
		}
		text, err := sh(ctx, g, "cat /tmp/state")
		out.Println("from the pool:", text)
		if err = errors.Join(err, g.Remove(ctx, vm.ForceRemove())); err != nil {
			return err
		}
	}
	return nil
}

// sh runs a line of shell in a guest, and returns what it printed, in one line.
func sh(ctx context.Context, g *maqet.Machine, line string) (string, error) {
	res, err := g.Exec(ctx, "sh", "-c", line)
	return strings.Join(strings.Fields(string(res.Stdout)), " "), err
}
