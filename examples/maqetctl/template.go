package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func (a *app) templateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "template",
		Short: "Make templates of running VMs, for 'fork'",
		Long: "Make templates of running VMs: each fork of one goes on where it was captured, in a fraction\n" +
			"of the time that a boot takes.",
		RunE: needsCommand,
	}
	cmd.AddCommand(a.templateCaptureCommand(), a.templateLsCommand(), a.templateRmCommand())
	return cmd
}

func (a *app) templateCaptureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "capture VM NAME",
		Short: "Make a template of a running VM, which stops",
		Long: "Make a template of a running VM, which stops with that. It stays until it is removed. Forks of\n" +
			"a VM with 'template: true' in its configuration share its memory, and start fastest.",
		Example: "  maqetctl template capture web web-ready",
		Args:    cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			made, err := m.Snapshot.Capture(ctx, args[0], args[1], snapshot.KeepTemplate(vm.Persistent))
			if err != nil {
				return err
			}
			return a.line(made, fmt.Sprintf("%s: captured, %s stood still for %v", made.Name, made.VM, made.Pause.Round(time.Millisecond)))
		}),
		ValidArgsFunction: a.vmNames(1),
	}
}

func (a *app) templateLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List templates",
		Args:  cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, _ []string) error {
			list, err := m.Snapshot.Templates(ctx)
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(table, "NAME\tVM\tPARENT\tMEMORY\tMACHINE\tCREATED") // Flush says what went wrong
				for _, t := range list {
					_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.VM, ifEmpty(t.Parent, "-"), t.Memory,
						t.Fingerprint.Machine, t.Created.Local().Format(time.DateTime))
				}
				return table.Flush()
			})
		}),
	}
}

func (a *app) templateRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Delete templates that nothing stands on",
		Args:  cobra.MinimumNArgs(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, names []string) error {
			if err := a.confirm(ctx, "delete "+strings.Join(names, ", ")); err != nil {
				return err
			}
			var done []deed
			for _, name := range names {
				t, err := m.Snapshot.Template(ctx, name)
				if err == nil {
					err = m.Snapshot.DeleteTemplate(ctx, name)
				}
				if err != nil {
					return joined(err, a.deeds(done))
				}
				done = append(done, deed{t.Name, t.ID, "deleted"})
			}
			return a.deeds(done)
		}),
	}
}

func (a *app) forkCommand() *cobra.Command {
	var name string
	var flags execFlags
	cmd := &cobra.Command{
		Use:   "fork TEMPLATE [-- PROGRAM [ARGUMENT...]]",
		Short: "Start a copy of a template",
		Long: "Start a copy of a template: a VM that goes on where the template was captured, with disks and\n" +
			"addresses of its own. With a program it lasts as long as that, else until it is removed.\n\n" + execHelp,
		Example:     "  maqetctl fork web-ready -- wget -qO- localhost",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{guestCodes: "yes"},
	}
	cmd.RunE = a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
		program := args[1:]
		opts := []snapshot.ForkOption{snapshot.ForkName(name)}
		if len(program) == 0 {
			opts = append(opts, snapshot.ForkLifetime(vm.Persistent))
		}
		machine, err := m.Fork(ctx, args[0], opts...)
		if err != nil {
			return err
		}
		if len(program) > 0 {
			return a.stay(ctx, m, machine, program, flags)
		}
		return a.did(deed{machine.Name(), machine.ID(), "forked"})
	})
	cmd.Flags().StringVarP(&name, "name", "n", "", "the VM's name (default: made of the template's)")
	flags.add(cmd)
	return cmd
}
