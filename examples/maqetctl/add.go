package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func (a *app) addCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:     "add [FILE...]",
		Short:   "Record a new VM",
		Long:    "Record a new VM. It is persistent: it goes on when this command ends, and\nuntil it is removed.\n\n" + configHelp,
		Example: "  maqetctl add --name web --memory 512M --disk 4G --forward 8080:80\n  maqetctl add base.yaml production.yaml",
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, files []string) error {
			return a.record(ctx, &flags, files, "added", m.VM.Add)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) applyCommand() *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "apply [FILE...]",
		Short: "Make a VM be as its configuration says",
		Long: "Add the VM, or change the one of that name to what the configuration says.\n" +
			"Doing it again changes nothing. A VM that runs has to be stopped for a change.\n\n" + configHelp,
		Example: "  maqetctl apply web.yaml",
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, files []string) error {
			return a.record(ctx, &flags, files, "applied", m.VM.Apply)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) record(ctx context.Context, flags *configFlags, files []string, action string, fn func(context.Context, vm.Config) (vm.Instance, error)) error {
	cfg, err := flags.config(files)
	if err != nil {
		return err
	}
	if err := persistent(&cfg); err != nil {
		return err
	}
	inst, err := fn(ctx, cfg)
	if err != nil {
		return err
	}
	return a.did(deed{inst.Name, inst.ID, action})
}
