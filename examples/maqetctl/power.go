package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.powerCommand("pause", "Halt VMs' virtual CPUs", "paused", (*maqet.Machine).Pause)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.powerCommand("resume", "Let VMs' virtual CPUs run again", "resumed", (*maqet.Machine).Resume)
}

func (a *app) powerCommand(name, short, action string, fn func(*maqet.Machine, context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use:               name + " VM...",
		Short:             short,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := find(ctx, m, refs)
			if err != nil {
				return err
			}
			deeds := []deed{}
			var errs []error
			for _, inst := range list {
				machine, err := m.Machine(ctx, inst.ID)
				if err == nil {
					err = fn(machine, ctx)
				}
				if err == nil {
					deeds = append(deeds, deed{inst.Name, inst.ID, action})
				}
				errs = append(errs, err)
			}
			return joined(joinAll(errs), a.deeds(deeds))
		}),
	}
}

func (a *app) resetCommand() *cobra.Command {
	cmd := a.powerCommand("reset", "Push VMs' reset buttons: the guests boot anew without a shutdown", "reset", (*maqet.Machine).Reset)
	reset := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.began = true
		if err := a.confirm(cmd.Context(), "reset what runs, which loses what is not on its disks"); err != nil {
			return err
		}
		return reset(cmd, args)
	}
	return cmd
}
