// Command layered reads a VM's configuration from files that lie above each other, prints
// the QEMU command line that it becomes, and with -boot boots it.
//
//	go run ./examples/layered examples/layered/base.yaml examples/layered/ci.yaml
//	go run ./examples/layered -boot examples/layered/base.yaml examples/layered/local.yaml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

func main() {
	boot := flag.Bool("boot", false, "boot the VM, and show what it says of itself")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: layered [-boot] FILE...")
		os.Exit(2)
	}
	ctx := context.Background()
	cfg, err := load(flag.Args())
	if err == nil {
		err = show(ctx, os.Stdout, cfg)
	}
	if err == nil && *boot {
		err = run(ctx, os.Stdout, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "layered:", err) // with file, line and column of each mistake
		os.Exit(1)
	}
}

// load merges the files. They may use ${TEXTS}; the environment is not looked at.
func load(files []string) (vm.Config, error) {
	texts, err := filepath.Abs(filepath.Join(filepath.Dir(files[0]), "texts"))
	if err != nil {
		return vm.Config{}, err
	}
	return vm.LoadConfigWith(vm.LoadOptions{Vars: map[string]string{"TEXTS": texts}}, files...)
}

// show prints the command line that a start would run here.
func show(ctx context.Context, out io.Writer, cfg vm.Config) (err error) {
	backend, err := process.New(process.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	argv, err := backend.CommandLine(ctx, cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, process.Quote(argv))
	return err
}

func run(ctx context.Context, out io.Writer, cfg vm.Config, opts ...maqet.Option) (err error) {
	m, err := maqet.New(opts...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // whatever happens, nothing is left
	g, err := m.Run(ctx, cfg)
	if err != nil {
		return err
	}
	res, err := g.Exec(ctx, "sh", "-c", "cat /etc/motd; nproc; cat /sys/block/vda/serial; echo; ls /sys/class/net")
	if err != nil {
		return err
	}
	_, err = out.Write(res.Stdout)
	return err
}
