// Command fleet runs a suite of tests on several libvirt hosts, each test in a guest of its own
// that is booted for it. Which host runs which guest is decided where there is room. The suite is
// the same as it would be on one machine: only the backend is another.
//
//	go run ./examples/fleet qemu+ssh://root@one/system qemu+tls://two/system
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: fleet URI...   (of libvirt hosts, such as qemu+ssh://root@one/system)")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Stdout, vm.Config{}, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// perHost is how many guests a host runs at a time.
const perHost = 2

// run runs the suite in guests like base.
func run(ctx context.Context, out io.Writer, base vm.Config, uris []string, opts ...maqet.Option) (err error) {
	for i, uri := range uris {
		opts = append(opts, maqet.WithLibvirtHost(fmt.Sprintf("host%d", i+1), uri))
	}
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	base.Backend = "any"

	results := make([]result, len(suite))
	begun := time.Now()
	var group errgroup.Group
	group.SetLimit(perHost * len(uris))
	for i, test := range suite {
		group.Go(func() error {
			results[i] = inGuest(ctx, m, base, test)
			return nil // the others go on
		})
	}
	_ = group.Wait()
	var text strings.Builder
	var errs []error
	for i, r := range results {
		verdict := "ok"
		if r.err != nil {
			verdict = "FAILED"
			errs = append(errs, fmt.Errorf("%s: %w", suite[i].name, r.err))
		}
		fmt.Fprintf(&text, "%-12s %-8s %-7s %v\n", suite[i].name, r.host, verdict, r.took.Round(10*time.Millisecond))
	}
	fmt.Fprintf(&text, "%d tests on %d hosts took %v\n", len(suite), len(uris), time.Since(begun).Round(10*time.Millisecond))
	_, err = io.WriteString(out, text.String())
	return errors.Join(append(errs, err)...)
}

// result is how a test went.
type result struct {
	host string
	took time.Duration
	err  error
}

// inGuest boots a guest for one test.
func inGuest(ctx context.Context, m *maqet.Maqet, cfg vm.Config, t test) (r result) {
	begun := time.Now()
	defer func() { r.took = time.Since(begun) }()
	g, err := m.Run(ctx, cfg)
	if err != nil {
		return result{err: err}
	}
	defer func() { r.err = errors.Join(r.err, g.Remove(ctx, vm.ForceRemove())) }()
	inst, err := g.Instance(ctx)
	if err != nil {
		return result{err: err}
	}
	return result{host: inst.Runtime.Backend, err: t.run(ctx, g)}
}

// test is a test of a system in a guest.
type test struct {
	name string
	run  func(ctx context.Context, g *maqet.Machine) error
}

var suite = []test{
	{"kernel", prints("Linux", "uname", "-s")},
	{"first", prints("1", "sh", "-c", "echo first >> /tmp/log; wc -l < /tmp/log")},
	{"second", prints("1", "sh", "-c", "echo second >> /tmp/log; wc -l < /tmp/log")}, // nobody was here before
	{"file", func(ctx context.Context, g *maqet.Machine) error {
		if err := g.WriteFile(ctx, "/tmp/in", []byte("hello"), 0o600); err != nil {
			return err
		}
		return prints("hello", "cat", "/tmp/in")(ctx, g)
	}},
}

// prints expects a program to print a line.
func prints(want string, args ...string) func(context.Context, *maqet.Machine) error {
	return func(ctx context.Context, g *maqet.Machine) error {
		res, err := g.Exec(ctx, args...)
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(res.Stdout)); got != want {
			return fmt.Errorf("%q printed %q, and not %q", args, got, want)
		}
		return nil
	}
}
