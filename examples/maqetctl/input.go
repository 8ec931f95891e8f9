package main

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// keyboardFlags say how keys are pressed.
type keyboardFlags struct {
	hold, gap time.Duration
	layout    string
}

func (f *keyboardFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.hold, "hold", 0, "how long each stays down; firmware may need 50ms")
	cmd.Flags().DurationVar(&f.gap, "gap", 0, "pause after each press and release (default 8ms)")
}

func (a *app) keysCommand() *cobra.Command {
	var flags keyboardFlags
	cmd := &cobra.Command{
		Use:               "keys VM KEYS...",
		Short:             "Press keys at a VM's keyboard",
		Long:              "Press keys, one argument after another. Those of an argument are joined by '-' and\npressed together. Names are QEMU's, or usual other ones.",
		Example:           "  maqetctl keys web ctrl-alt-f2\n  maqetctl keys web r o o t ret",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.keyNames,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			machine, err := m.Machine(ctx, args[0])
			if err != nil {
				return err
			}
			if err := machine.Keyboard(qmp.KeyboardOptions{Hold: flags.hold, Gap: flags.gap}).Send(ctx, args[1:]...); err != nil {
				return err
			}
			return a.did(deed{machine.Name(), machine.ID(), "keys pressed"})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) keyNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.vmNames(1)(cmd, args, typed)
	}
	before := typed[:strings.LastIndexByte(typed, '-')+1]
	var names []string
	for _, k := range qmp.KeyNames() {
		if strings.HasPrefix(before+k, typed) {
			names = append(names, before+k)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) typeCommand() *cobra.Command {
	var flags keyboardFlags
	var enter bool
	cmd := &cobra.Command{
		Use:               "type VM TEXT | -",
		Short:             "Type text at a VM's keyboard",
		Long:              "Type text at a VM's keyboard; '-' takes it from standard input. A line's end is the\nreturn key.",
		Example:           "  maqetctl type web --enter root",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			machine, err := m.Machine(ctx, args[0])
			if err != nil {
				return err
			}
			layout, err := layoutOf(flags.layout)
			if err != nil {
				return err
			}
			text, err := a.textOf(ctx, args[1])
			if err != nil {
				return err
			}
			if enter {
				text += "\n"
			}
			if err := machine.Keyboard(qmp.KeyboardOptions{Hold: flags.hold, Gap: flags.gap, Layout: &layout}).Type(ctx, text); err != nil {
				return err
			}
			return a.did(deed{machine.Name(), machine.ID(), "text typed"})
		}),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&enter, "enter", false, "press the return key at the end")
	cmd.Flags().StringVar(&flags.layout, "layout", "us", "the guest's keyboard layout: us, gb, de, or a JSON file, see qmp.Layout")
	complete(cmd, "layout", words("us", "gb", "de"))
	return cmd
}

// textOf returns an argument, or for "-" what is on standard input.
func (a *app) textOf(ctx context.Context, arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	in, stop, err := a.stdin(ctx)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(in)
	return string(data), joined(err, stop())
}

func layoutOf(name string) (qmp.Layout, error) {
	switch name {
	case "us":
		return qmp.LayoutUS(), nil
	case "gb":
		return qmp.LayoutGB(), nil
	case "de":
		return qmp.LayoutDE(), nil
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return qmp.Layout{}, usagef("there is no layout %q, nor a file of that name", name)
	}
	if err != nil {
		return qmp.Layout{}, err
	}
	return qmp.ParseLayout(data)
}
