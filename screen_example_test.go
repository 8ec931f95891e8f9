package maqet_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// Typing at a guest's text console, and looking at it; examples/keyboard is the whole
// program.
func ExampleMachine_Type() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	g, err := m.Run(ctx, vm.Config{
		Display: vm.Display{Adapter: vm.AdapterStd},
		Boot:    vm.Boot{Cmdline: "console=tty0 console=ttyS0"},
	})
	if err != nil {
		log.Fatal(err)
	}
	before, err := g.Screenshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := g.Type(ctx, "uname -a\n"); err != nil {
		log.Fatal(err)
	}
	if _, err := g.WaitScreen(ctx, qmp.ScreenChanged(before, 300)); err != nil {
		log.Fatal(err)
	}
	png, err := g.ScreenshotPNG(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("screen.png", png, 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println("saved what the guest says")
}
