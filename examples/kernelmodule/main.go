// Command kernelmodule tries kernel modules, each in a guest of its own that was booted once and
// forked: one that is not for this kernel, or that takes the machine down, harms nobody. It builds
// nothing: the modules are those of the guest kernel's own package.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path"
	"strings"
	"time"

	"github.com/maqet/maqet"
	maqeterrors "github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
)

func main() {
	if err := run(context.Background(), log.New(os.Stdout, "", 0)); err != nil {
		fmt.Fprintln(os.Stderr, "kernelmodule:", err)
		os.Exit(1)
	}
}

// trial is one module, and what is done with it.
type trial struct {
	title  string
	module string
	args   []string               // its parameters
	alone  bool                   // without the modules that it needs
	change func(ko []byte) []byte // nil: as it is
	then   string                 // what a shell does once it is loaded
}

// trials are what is tried. The last of them panics the guest's kernel.
func trials(version string) []trial {
	return []trial{
		{title: "two RAM disks of 1 MiB", module: "brd", args: []string{"rd_nr=2", "rd_size=1024"},
			then: "grep ram[0-9] /proc/partitions"},
		{title: "compressed memory, with the allocator that it needs", module: "zram", then: "cat /sys/block/zram0/disksize"},
		{title: "compressed memory, without it", module: "zram", alone: true},
		{title: "RAM disks, changed after they were signed", module: "brd", change: func(ko []byte) []byte {
			return bytes.Replace(ko, []byte("vermagic="+version), []byte("vermagic="+strings.Repeat("9", len(version))), 1)
		}},
		{title: "a watchdog that nobody feeds", module: "softdog", args: []string{"soft_margin=1", "soft_panic=1"},
			then: "echo > /dev/watchdog; sleep 60"},
	}
}

func run(ctx context.Context, out *log.Logger, opts ...maqet.Option) (err error) {
	k, err := kernel.Find(ctx, kernel.Options{})
	if err != nil {
		return err
	}
	pkg, err := openPackage(k.Modules)
	if err != nil {
		return err
	}
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	begun := time.Now()
	g, err := m.Run(ctx, vm.Config{Boot: vm.Boot{Kernel: k.Path}, Template: true})
	if err != nil {
		return err
	}
	if _, err := g.Capture(ctx, "booted"); err != nil {
		return err
	}
	out.Printf("booted in %v\n", time.Since(begun).Round(time.Millisecond))
	for _, t := range trials(k.Version) {
		if err := t.run(ctx, out, m, pkg); err != nil {
			return fmt.Errorf("%s: %w", t.title, err)
		}
	}
	return nil
}

// run does one trial in a fork, and prints what came of it.
func (t trial) run(ctx context.Context, out *log.Logger, m *maqet.Maqet, pkg modules) (err error) {
	begun := time.Now()
	g, err := m.Fork(ctx, "booted")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Remove(ctx, vm.ForceRemove())) }()
	out.Printf("\n%s (a fork after %v)\n", t.title, time.Since(begun).Round(time.Millisecond))
	files, err := pkg.needed(t.module)
	if err != nil {
		return err
	}
	if t.alone {
		files = files[len(files)-1:]
	}
	if t.change != nil {
		files[len(files)-1].data = t.change(files[len(files)-1].data)
	}
	// Only what the module says is shown.
	if _, err := g.Exec(ctx, "dmesg", "-c"); err != nil {
		return err
	}
	if err := t.load(ctx, out, g, files); err != nil {
		return err
	}
	if t.then == "" {
		return nil
	}
	return t.use(ctx, out, g)
}

// load loads modules in this order, and shows what came of the last one.
func (t trial) load(ctx context.Context, out *log.Logger, g *maqet.Machine, files []file) error {
	for i, f := range files {
		ko := path.Join("/tmp", f.name+".ko")
		if err := g.WriteFile(ctx, ko, f.data, 0o600); err != nil {
			return err
		}
		args := []string{"insmod", ko}
		if i == len(files)-1 {
			args = append(args, t.args...)
		}
		res, err := g.Exec(ctx, args...)
		if err != nil && res.ExitCode == 0 { // it was not insmod that failed
			return err
		}
		show(out, res.Stderr)
	}
	// The first line that the module has given to the log, and its own in the list of modules.
	res, err := g.Exec(ctx, "sh", "-c", `dmesg | sed -n "s/.*\] $0: /kernel: &/p" | sed 's/[[][^]]*[]] //' | head -n 1
		awk -v name="$0" '$1 == name { print "/proc/modules:", $1, "is", $5 }' /proc/modules`, t.module)
	show(out, res.Stdout)
	return err
}

// use tries the module. That the guest panics is a result, too.
func (t trial) use(ctx context.Context, out *log.Logger, g *maqet.Machine) error {
	res, err := g.Exec(ctx, "sh", "-c", t.then)
	if errors.Is(err, maqeterrors.ErrGuestPanic) {
		out.Println("  the guest panicked")
		return nil
	}
	show(out, res.Stdout)
	return err
}

// show prints what a program has said.
func show(out *log.Logger, text []byte) {
	for line := range strings.Lines(string(text)) {
		out.Println(" ", strings.Join(strings.Fields(line), " "))
	}
}
