package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

// argvShown is the command line of a VM's QEMU.
type argvShown struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
}

func (a *app) argvCommand() *cobra.Command {
	var flags configFlags
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:   "argv VM | FILE...",
		Short: "Print the QEMU command line of a VM, or of a configuration",
		Long: "Print a QEMU command line, quoted for a shell: of a VM that runs the one it runs\n" +
			"with, of another VM or a configuration the one that a start would run here, with\n" +
			"zeros for the VM's ID. Nothing is started or made. What has a slash or a file's ending is a FILE.\n\n" + configHelp,
		Example:           "  maqetctl argv web\n  maqetctl argv ./base.yaml ./production.yaml --memory 1G",
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			if len(args) == 1 && !isFile(args[0]) && changed(cmd) {
				return usagef("flags change what files say, and %q is a VM", args[0])
			}
			shown, err := a.argv(ctx, m, &flags, args)
			if err != nil {
				return err
			}
			return a.show(shown, func(w io.Writer) error {
				_, err := io.WriteString(w, process.Quote(shown.Args)+"\n")
				return err
			})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) argv(ctx context.Context, m *maqet.Maqet, flags *configFlags, args []string) (argvShown, error) {
	if len(args) == 1 && !isFile(args[0]) {
		inst, err := m.VM.Get(ctx, args[0])
		if err != nil {
			return argvShown{}, err
		}
		if inst.State.Live() && len(inst.Runtime.Args) > 0 {
			return argvShown{inst.Name, inst.Runtime.Args}, nil
		}
		line, err := a.planned(ctx, inst.Config)
		return argvShown{inst.Name, line}, err
	}
	cfg, err := flags.config(args)
	if err != nil {
		return argvShown{}, err
	}
	line, err := a.planned(ctx, cfg)
	return argvShown{cfg.Name, line}, err
}

// changed reports whether one of the command's own flags was given.
func changed(cmd *cobra.Command) (given bool) {
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { given = given || f.Changed })
	return given
}

// isFile tells a file's name from a VM's, which may have dots but no slash.
func isFile(arg string) bool {
	switch filepath.Ext(arg) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return filepath.Base(arg) != arg
}

// planned is the command line that a start would run on this host.
func (a *app) planned(ctx context.Context, cfg vm.Config) (line []string, err error) {
	where, err := a.folders()
	if err != nil {
		return nil, err
	}
	backend, err := where.backend()
	if err != nil {
		return nil, err
	}
	defer func() { err = joined(err, backend.Close()) }()
	return backend.CommandLine(ctx, cfg)
}
