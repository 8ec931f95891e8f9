package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func (a *app) lsCommand() *cobra.Command {
	var quiet bool
	var inStates []string
	var labels map[string]string
	var lifetime string
	cmd := &cobra.Command{
		Use:               "ls [VM...]",
		Short:             "List VMs",
		Long:              "List the VMs that are recorded. The record of one whose QEMU is gone is corrected.",
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			f := vm.Filter{Labels: labels, Lifetime: vm.Lifetime(lifetime)}
			for _, s := range inStates {
				if !vm.State(s).Valid() {
					return usagef("there is no state %q", s)
				}
			}
			if len(refs) > 0 {
				list, err := find(ctx, m, refs) // one that is not there is an error
				if err != nil {
					return err
				}
				f.Names = idsOf(list)
			}
			list, err := m.VM.List(ctx, f)
			if err != nil {
				return err
			}
			return a.list(inState(mended(ctx, m, list), inStates), quiet)
		}),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names only")
	cmd.Flags().StringSliceVarP(&inStates, "state", "s", nil, "only those in one of these states")
	cmd.Flags().StringToStringVarP(&labels, "label", "l", nil, "only those with this label, as key=value; an empty value matches any")
	cmd.Flags().StringVar(&lifetime, "lifetime", "", "only those that are persistent, or ephemeral")
	complete(cmd, "state", stateWords())
	complete(cmd, "lifetime", words(string(vm.Persistent), string(vm.Ephemeral)))
	return cmd
}

// inState filters again: the states were looked at, and may not be what was recorded.
func inState(list []vm.Instance, states []string) []vm.Instance {
	if len(states) == 0 {
		return list
	}
	var some []vm.Instance
	for _, inst := range list {
		for _, s := range states {
			if string(inst.State) == s {
				some = append(some, inst)
			}
		}
	}
	return some
}

func (a *app) list(list []vm.Instance, quiet bool) error {
	all := make([]vmShown, 0, len(list))
	var rows [][]string
	for _, inst := range list {
		s := shown(inst)
		all = append(all, s)
		pid := "-"
		if s.PID != 0 {
			pid = strconv.Itoa(s.PID)
		}
		rows = append(rows, []string{s.Name, string(s.State), memoryOf(inst.Config).String(), strconv.Itoa(s.CPUs), pid,
			ago(s.Changed), s.Reason, labelsText(s.Labels)})
	}
	if quiet && !a.json {
		for _, s := range all {
			if _, err := fmt.Fprintln(a.out, s.Name); err != nil {
				return err
			}
		}
		return nil
	}
	return a.show(all, func(w io.Writer) error {
		if len(rows) == 0 {
			_, err := fmt.Fprintln(w, "there are no VMs; 'maqetctl add' makes one")
			return err
		}
		return table("NAME STATE MEMORY CPUS PID SINCE REASON LABELS", rows)(w)
	})
}
