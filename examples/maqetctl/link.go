package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func (a *app) linkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Pull the cables of network cards, and plug them in again",
		RunE:  needsCommand,
	}
	cmd.AddCommand(a.linkToCommand("up", "Plug the cable in", true), a.linkToCommand("down", "Pull the cable", false))
	return cmd
}

func (a *app) linkToCommand(name, short string, up bool) *cobra.Command {
	return &cobra.Command{
		Use:               name + " VM CARD",
		Short:             short + " of a running VM's network card",
		Long:              short + " of a running VM's network card. It lasts until the VM stops.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.cardNames,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			machine, err := m.Machine(ctx, args[0])
			if err != nil {
				return err
			}
			if err := setLink(ctx, machine, args[1], up); err != nil {
				return err
			}
			return a.did(deed{machine.Name(), machine.ID(), args[1] + " " + name})
		}),
	}
}

// setLink changes a cable (QEMU QMP Reference Manual, set_link, which takes the ID of a
// card).
func setLink(ctx context.Context, machine *maqet.Machine, card string, up bool) error {
	_, err := machine.QMP(ctx, "set_link", map[string]any{"name": card, "up": up})
	return err
}

func (a *app) cardNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.vmNames(1)(cmd, args, typed)
	}
	var names []string
	for _, inst := range a.recorded(cmd) {
		if inst.Name == args[0] || inst.ID == args[0] {
			names = append(names, cardsOf(inst)...)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func cardsOf(inst vm.Instance) (names []string) {
	for _, d := range devicesOf(inst) {
		if d.Kind == "network" {
			names = append(names, d.ID)
		}
	}
	return names
}
