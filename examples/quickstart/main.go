// Command quickstart boots a Linux guest, works in it, stops it, and shows how long
// each step took.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, m.Close()) }()

	fmt.Println("booting Linux ...")
	g, err := m.Run(ctx, vm.Config{Name: "quickstart"}, vm.OnStep(show))
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"uname", "-srm"}, {"free", "-m"}, {"sh", "-c", "echo hello from PID $$"}} {
		begun := time.Now()
		res, err := g.Exec(ctx, args...)
		if err != nil {
			return err
		}
		fmt.Printf("$ %s   (%v)\n%s", args, time.Since(begun).Round(time.Millisecond/10), res.Stdout)
	}
	if err := g.WriteFile(ctx, "/tmp/note", []byte("written on the host"), 0o644); err != nil {
		return err
	}
	note, err := g.ReadFile(ctx, "/tmp/note")
	if err != nil {
		return err
	}
	fmt.Printf("a file went in and came back: %q\n", note)

	report, err := g.Stop(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("stopped by %s in %v; nothing is left\n", report.Step, report.Duration.Round(time.Millisecond))
	return nil
}
