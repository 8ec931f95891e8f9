// Command keyboard boots a Linux guest with a screen, logs in at its text console as a
// person would, by typing and looking, and saves what it saw as screen.png.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "keyboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting Linux with a VGA adapter, and its console on the screen")
	g, err := m.Run(ctx, vm.Config{
		Display: vm.Display{Adapter: vm.AdapterStd},
		Boot:    vm.Boot{Cmdline: "console=tty0 console=ttyS0"},
	})
	if err != nil {
		return err
	}
	booted, err := g.Screenshot(ctx)
	if err != nil {
		return err
	}
	fmt.Println("waiting until a shell shows on the screen")
	if _, err := g.WaitScreen(ctx, qmp.ScreenChanged(booted, 300)); err != nil {
		return err
	}
	// A password for root, so that there is something to log in to.
	if _, err := g.Exec(ctx, "sh", "-c", `sed -i "s|^root:x|root:$(mkpasswd secret)|" /etc/passwd`); err != nil {
		return err
	}
	for _, line := range []string{"exec login", "root", "secret", "uname -a; echo typed by $USER"} {
		if err := enter(ctx, g, line); err != nil {
			return err
		}
	}
	png, err := g.ScreenshotPNG(ctx)
	if err != nil {
		return err
	}
	fmt.Println("saving the screen as screen.png: look at it")
	return os.WriteFile("screen.png", png, 0o600)
}

// enter types a line, presses return and waits until the guest shows something new, for
// which a blinking cursor is too small.
func enter(ctx context.Context, g *maqet.Machine, line string) error {
	fmt.Printf("typing %q\n", line)
	if err := g.Type(ctx, line); err != nil {
		return err
	}
	before, err := g.Screenshot(ctx)
	if err != nil {
		return err
	}
	if err := g.SendKeys(ctx, "ret"); err != nil {
		return err
	}
	_, err = g.WaitScreen(ctx, qmp.ScreenChanged(before, 60))
	return err
}
