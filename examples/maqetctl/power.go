package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func (a *app) pauseCommand() *cobra.Command {
	return a.powerCommand("pause", "Halt VMs' virtual CPUs", "paused", func(m *maqet.Machine, ctx context.Context) error {
		return settled(ctx, m, m.Pause(ctx), vm.Paused)
	})
}

func (a *app) resumeCommand() *cobra.Command {
	return a.powerCommand("resume", "Let VMs' virtual CPUs run again", "resumed", func(m *maqet.Machine, ctx context.Context) error {
		return settled(ctx, m, m.Resume(ctx), vm.Running)
	})
}

// recordTime bounds the wait for a new state to be recorded.
const recordTime = 10 * time.Second

// settled waits until the VM's record has the state that QEMU took. The record follows
// QEMU's event, which a process that ended at once would not live to see.
func settled(ctx context.Context, m *maqet.Machine, err error, state vm.State) error {
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	if _, err = m.Wait(limited, state); ctx.Err() == nil && limited.Err() != nil {
		return nil // QEMU was in that state before, and there was no event
	}
	return err
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
