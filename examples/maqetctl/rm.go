package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func (a *app) rmCommand() *cobra.Command {
	var all, force, images bool
	cmd := &cobra.Command{
		Use:   "rm VM... | --all",
		Short: "Forget VMs and delete their logs",
		Long: "Forget VMs and delete their logs. Disk images that were made for them stay\n" +
			"unless --images is given; images of yours always stay.",
		ValidArgsFunction: a.vmNames(0),
		Args:              someOrAll(&all),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := choose(ctx, m, refs, all, func(vm.State) bool { return true })
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return a.report(nil)
			}
			if err := removable(list, force); err != nil {
				return err
			}
			if err := a.confirm(ctx, question(list, images)); err != nil {
				return err
			}
			return a.remove(ctx, m, list, force, images)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every VM")
	cmd.Flags().BoolVar(&force, "force", false, "kill those that run first")
	cmd.Flags().BoolVar(&images, "images", false, "delete the disk images that were made for them")
	return cmd
}

func question(list []vm.Instance, images bool) string {
	text := "remove " + namesOf(list)
	if images {
		text += " and delete the disks that were made for it"
		if len(list) > 1 {
			text = "remove " + namesOf(list) + " and delete the disks that were made for them"
		}
	}
	return text
}

// removable refuses VMs that run, before any is removed or anything is asked.
func removable(list []vm.Instance, force bool) error {
	for _, inst := range list {
		if inst.State.Live() && !force {
			return &errors.TransitionError{VM: inst.Name, Op: "remove", State: string(inst.State), Hint: "stop it first, or give --force"}
		}
	}
	return nil
}

func (a *app) remove(ctx context.Context, m *maqet.Maqet, list []vm.Instance, force, images bool) error {
	var opts []vm.RemoveOption
	if force {
		opts = append(opts, vm.ForceRemove())
	}
	if images {
		opts = append(opts, vm.DeleteImages())
	}
	var rows []stopped
	var errs []error
	for _, inst := range list {
		begun := time.Now()
		err := m.VM.Remove(ctx, inst.ID, opts...)
		row := stopped{Name: inst.Name, ID: inst.ID, Action: "removed"}
		if err != nil {
			row.Action, row.Error = "failed", err.Error()
		}
		row.Seconds = time.Since(begun).Seconds()
		rows, errs = append(rows, row), append(errs, err)
	}
	return joined(joinAll(errs), a.report(rows))
}
