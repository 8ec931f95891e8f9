// Command debian boots a disk image of a distribution, has cloud-init make a user in it, and
// works in it over ssh as that user. The image is never written: the guest has an overlay.
//
//	go run ./examples/debian "$(scripts/debian-image.sh)"
//
// Any image with cloud-init and an ssh server does, such as those that distributions offer
// for clouds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

func main() {
	port := flag.Int("port", 2222, "port of this host that leads to the guest's ssh server")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: debian [-port 2222] IMAGE.qcow2")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if err := run(ctx, flag.Arg(0), *port); err != nil {
		fmt.Fprintln(os.Stderr, "debian:", err)
		os.Exit(1)
	}
}

// config is a guest on the image whose user "dev" has this key.
func config(image string, port int, key guest.SSHKey) vm.Config {
	return vm.Config{
		CPU: vm.CPU{Count: 2}, Memory: 512 * vm.MiB,
		Disks:    []vm.Disk{{Base: image, Format: vm.FormatQcow2}},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Port: port, Guest: 22}}}},
		CloudInit: &vm.CloudInit{
			Hostname: "debian-example",
			Users:    []vm.CloudUser{{Name: "dev", SSHKeys: []string{key.AuthorizedKey()}, Sudo: true}},
			Files:    []vm.CloudFile{{Path: "/etc/motd", Text: "Hello from the seed.\n"}},
			Run:      [][]string{{"touch", "/run/seeded"}},
		},
		// Where the processor is emulated, cloud-init takes minutes.
		Timeouts: vm.Timeouts{Ready: vm.Duration(15 * time.Minute), Silence: vm.Duration(10 * time.Minute)},
	}
}

func run(ctx context.Context, image string, port int) (err error) {
	key, err := guest.NewSSHKey() // ends with this program
	if err != nil {
		return err
	}
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting, and waiting until cloud-init has made the user and ssh lets us in")
	login := []guest.SSHOption{guest.WithUser("dev"), guest.WithKey(key)}
	begun := time.Now()
	g, err := m.Run(ctx, config(image, port, key), vm.WaitFor(m.Guest.Until(guest.SSHReady(login...))))
	if err != nil {
		return err
	}
	fmt.Println("in after", time.Since(begun).Round(100*time.Millisecond))
	if err := work(ctx, g, login); err != nil {
		return err
	}
	report, err := g.Stop(ctx)
	fmt.Printf("stopped by %s in %v, nothing is left\n", report.Step, report.Duration.Round(100*time.Millisecond))
	return err
}

func work(ctx context.Context, g *maqet.Machine, login []guest.SSHOption) (err error) {
	in, err := g.SSH(ctx, login...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := in.Wait(ctx, guest.FileExists("/run/seeded")); err != nil { // cloud-init's last step
		return err
	}
	for _, args := range [][]string{{"cat", "/etc/motd"}, {"id", "-un"}, {"sudo", "id", "-un"}, {"hostname"}} {
		res, err := in.Exec(ctx, guest.Command{Args: args})
		if err != nil {
			return err
		}
		fmt.Printf("ssh: %s: %s", strings.Join(args, " "), res.Stdout)
	}
	if err := in.WriteFile(ctx, "/home/dev/note", []byte("hello from the host"), 0o600); err != nil {
		return err
	}
	// The agent works in the same guest, as root.
	res, err := g.Exec(ctx, "stat", "-c", "%U has a note of %s bytes", "/home/dev/note")
	fmt.Printf("agent: %s", res.Stdout)
	return err
}
