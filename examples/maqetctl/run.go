package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func (a *app) runCommand() *cobra.Command {
	var config configFlags
	var flags execFlags

	cmd := &cobra.Command{
		Use:   "run [FILE...] [-- PROGRAM [ARGUMENT...]]",
		Short: "Start a VM that lasts as long as this command",
		Long: "Start a VM, run the program in it, or without one connect to its console, and\n" +
			"remove the VM at the end, however that comes.\n\n" + configHelp + "\n\n" + execHelp,
		Example:     "  maqetctl run -- uname -a\n  maqetctl run --memory 1G --base debian.qcow2",
		Annotations: map[string]string{guestCodes: "yes"},
	}
	cmd.RunE = a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
		files, program := args, []string(nil)
		if at := cmd.ArgsLenAtDash(); at >= 0 {
			files, program = args[:at], args[at:]
		}
		cfg, err := config.config(files)
		if err != nil {
			return err
		}
		cfg.Lifetime = vm.Ephemeral
		machine, err := a.boot(ctx, m, cfg)
		if err != nil {
			return err
		}
		return a.stay(ctx, m, machine, program, flags)
	})
	config.add(cmd)
	flags.add(cmd)
	return cmd
}

// boot starts a VM that Close removes.
func (a *app) boot(ctx context.Context, m *maqet.Maqet, cfg vm.Config) (*maqet.Machine, error) {
	bars := a.progress(ctx)
	step, end := bars.starting(ifEmpty(cfg.Name, "vm"))
	machine, err := m.Run(ctx, cfg, vm.OnStep(step))
	end(err)
	bars.wait()
	return machine, err
}

// stay works in the VM until that is done, and stops it.
func (a *app) stay(ctx context.Context, m *maqet.Maqet, machine *maqet.Machine, program []string, flags execFlags) error {
	var err error
	if len(program) > 0 {
		err = a.exec(ctx, m, machine.Name(), program, flags)
	} else {
		if !isTerminal(a.in) {
			fmt.Fprintf(a.err, "%s runs until this command ends\n", machine.Name())
		}
		err = a.console(ctx, m, machine.Name(), 10, nil)
	}
	if ctx.Err() != nil {
		return err // Close ends it
	}
	_, stopErr := machine.Stop(ctx)
	return joined(err, stopErr)
}
