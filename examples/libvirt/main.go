// Command libvirt boots a Linux guest as a domain of libvirt, works in it, has virsh pause it
// and sees that, and stops it.
//
//	go run ./examples/libvirt -connect qemu:///session
//	go run ./examples/libvirt -connect qemu+ssh://user@host/system
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func main() {
	// What virsh itself uses when nobody says.
	uri := flag.String("connect", cmp.Or(os.Getenv("LIBVIRT_DEFAULT_URI"), "qemu:///system"), "URI of the `libvirt` to use")
	flag.Parse()
	if err := run(context.Background(), *uri); err != nil {
		fmt.Fprintln(os.Stderr, "libvirt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, uri string, opts ...maqet.Option) (err error) {
	m, err := maqet.New(append(opts, maqet.WithLibvirt(uri))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting Linux as a domain of", uri)
	g, err := m.Run(ctx, vm.Config{Backend: "libvirt"}, vm.OnStep(func(s vm.Step) {
		if s.Duration > 0 {
			fmt.Printf("  %-10s %v\n", s.Name, s.Duration.Round(100*time.Microsecond))
		}
	}))
	if err != nil {
		return err
	}
	res, err := g.Exec(ctx, "sh", "-c", "uname -srm; echo hello from process $$")
	if err != nil {
		return err
	}
	fmt.Printf("%s", res.Stdout)
	if err := besideVirsh(ctx, uri, g); err != nil {
		return err
	}
	report, err := g.Stop(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("stopped by %s in %v, nothing is left\n", report.Step, report.Duration.Round(time.Millisecond))
	return nil
}

// besideVirsh shows that others can work with the domain: maqet follows.
func besideVirsh(ctx context.Context, uri string, g *maqet.Machine) error {
	if _, err := exec.LookPath("virsh"); err != nil {
		fmt.Println("virsh is not installed here: its part is left out")
		return nil
	}
	for _, args := range [][]string{{"list"}, {"suspend", g.Name()}} {
		out, err := exec.CommandContext(ctx, "virsh", append([]string{"-c", uri}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("virsh %s: %w: %s", args, err, out)
		}
		fmt.Printf("virsh %s:\n%s", args[0], out)
	}
	inst, err := g.Wait(ctx, vm.Paused)
	if err != nil {
		return err
	}
	fmt.Printf("the VM is %s: %s\n", inst.State, inst.Reason)
	return g.Resume(ctx)
}
