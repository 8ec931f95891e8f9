// Command hotplug boots a Linux guest, plugs a disk and a network card into it while it
// runs, uses both, and takes them out again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "hotplug:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "hotplug-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(image, make([]byte, 8<<20), 0o600); err != nil {
		return err
	}
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting Linux")
	g, err := m.Run(ctx, vm.Config{})
	if err != nil {
		return err
	}
	disk := qmp.Device{ID: "scratch", Disk: &qmp.Disk{Path: image, Format: "raw", Serial: "SCRATCH"}}
	if err := plug(ctx, g, disk, "until test -b /dev/vda; do sleep 0.02; done; echo vda: $(cat /sys/block/vda/serial)",
		"echo written by the guest > /dev/vda; sync; echo wrote to it"); err != nil {
		return err
	}
	content, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	fmt.Printf("  the image has: %q\n", content[:20])
	card := qmp.Device{ID: "lan", NIC: &qmp.NIC{MAC: "52:54:00:12:34:56"}}
	return plug(ctx, g, card, "until test -e /sys/class/net/eth0; do sleep 0.02; done; echo eth0: $(cat /sys/class/net/eth0/address)",
		"until ip route | grep default; do sleep 0.02; done")
}

// plug adds a device, runs the commands in the guest, and takes the device out again.
func plug(ctx context.Context, g *maqet.Machine, d qmp.Device, commands ...string) error {
	begun := time.Now()
	if err := g.AddDevice(ctx, d); err != nil {
		return err
	}
	fmt.Printf("plugged %s in %v\n", d.ID, time.Since(begun).Round(time.Millisecond))
	for _, command := range commands {
		res, err := g.Exec(ctx, "sh", "-c", command)
		if err != nil {
			return err
		}
		fmt.Printf("  the guest says: %s", res.Stdout)
	}
	begun = time.Now()
	if err := g.RemoveDevice(ctx, d.ID); err != nil { // returns once the guest let go
		return err
	}
	fmt.Printf("unplugged %s in %v\n", d.ID, time.Since(begun).Round(time.Millisecond))
	return nil
}
