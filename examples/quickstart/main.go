// Command quickstart boots a Linux guest, works in it, stops it, and shows how long
// each step took.
package main

import (
	"context"
	"errors"
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
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	fmt.Println("booting Linux: the first time, its init is compiled and a RAM disk is built")
	g, err := m.Run(ctx, vm.Config{}, vm.OnStep(show))
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"uname", "-srm"}, {"nproc"}, {"sh", "-c", "echo hello from process $$"}} {
		begun := time.Now()
		res, err := g.Exec(ctx, args...)
		if err != nil {
			return err
		}
		fmt.Printf("exec %q (%v): %s", args, time.Since(begun).Round(time.Millisecond), res.Stdout)
	}
	if err := g.WriteFile(ctx, "/tmp/note", []byte("hello from the host"), 0o644); err != nil {
		return err
	}
	note, err := g.ReadFile(ctx, "/tmp/note")
	fmt.Printf("a file went in and came back: %q\n", note)
	report, stopErr := g.Stop(ctx)
	fmt.Printf("stopped by %s in %v, nothing is left\n", report.Step, report.Duration.Round(time.Millisecond))
	return errors.Join(err, stopErr)
}

func show(s vm.Step) {
	if s.Duration == 0 { // it begins: the cursor stays on its line while it lasts
		fmt.Printf("  %-10s ... ", s.Name)
		return
	}
	fmt.Println(s.Duration.Round(100 * time.Microsecond))
}
