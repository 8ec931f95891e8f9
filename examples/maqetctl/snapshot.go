package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		Aliases: []string{"snap"},
		Short:   "Make snapshots of VMs, and go back to them",
		Long: "Make snapshots of VMs, and go back to them. Of a running VM they hold its memory, too, or with\n" +
			"--disk-only its disks as they are at one moment; of one that is not running its disks.",
		RunE: needsCommand,
	}
	cmd.AddCommand(a.snapshotCreateCommand(), a.snapshotLsCommand(), a.snapshotLoadCommand(), a.snapshotRmCommand(),
		a.snapshotMergeCommand("commit", "Make what was written since an external snapshot part of the images that it kept",
			"committed", "", (*snapshot.Coordinator).Commit),
		a.snapshotMergeCommand("stream", "Make the disks stand on nothing that an external snapshot kept, and forget it",
			"streamed", "", (*snapshot.Coordinator).Stream),
		a.snapshotMergeCommand("drop", "Give up what was written since an external snapshot, and forget it",
			"dropped", "give up what was written since", (*snapshot.Coordinator).Drop),
		a.snapshotBlockersCommand())
	return cmd
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	var diskOnly, paused, running, noFreeze, freeze bool
	var description string
	cmd := &cobra.Command{
		Use:     "create VM NAME",
		Short:   "Make a snapshot; the guest goes on as it was",
		Example: "  maqetctl snapshot create web installed --description 'before the update'",
		Args:    cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			opts := []snapshot.Option{snapshot.Describe(description)}
			for _, o := range []struct {
				given  bool
				option snapshot.Option
			}{{diskOnly, snapshot.DiskOnly()}, {paused, snapshot.ThenPause()}, {running, snapshot.ThenRun()},
				{noFreeze, snapshot.NoFreeze()}, {freeze, snapshot.MustFreeze()}} {
				if o.given {
					opts = append(opts, o.option)
				}
			}
			var made snapshot.Snapshot
			err := a.showingWork(ctx, args[1], opts, func(opts []snapshot.Option) (err error) {
				made, err = m.Snapshot.Create(ctx, args[0], args[1], opts...)
				return err
			})
			if err != nil {
				return err
			}
			return a.show(made, func(w io.Writer) error {
				_, err := io.WriteString(w, snapshotLine(made)+"\n")
				return err
			})
		}),
		ValidArgsFunction: a.vmNames(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&description, "description", "", "what it is, for people")
	flags.BoolVar(&diskOnly, "disk-only", false, "of a running VM: the disks only, as they are at one moment")
	flags.BoolVar(&paused, "paused", false, "leave the guest paused")
	flags.BoolVar(&running, "running", false, "let the guest run afterwards")
	flags.BoolVar(&noFreeze, "no-freeze", false, "with --disk-only: don't ask the guest to flush its file systems")
	flags.BoolVar(&freeze, "freeze", false, "with --disk-only: fail if the guest can't flush its file systems")
	cmd.MarkFlagsMutuallyExclusive("paused", "running")
	cmd.MarkFlagsMutuallyExclusive("freeze", "no-freeze")
	return cmd
}

func (a *app) snapshotLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls VM",
		Short: "List snapshots, as a tree; * is where the disks stand",
		Args:  cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			list, err := m.Snapshot.List(ctx, args[0])
			if err != nil {
				return err
			}
			return a.show(list, func(w io.Writer) error {
				text := snapshot.FormatTree(snapshot.Tree(list), snapshotLine)
				if text == "" {
					text = "there are no snapshots of " + args[0] + "\n"
				}
				_, err := io.WriteString(w, text)
				return err
			})
		}),
		ValidArgsFunction: a.vmNames(1),
	}
}

func (a *app) snapshotLoadCommand() *cobra.Command {
	var cold, paused, running bool
	cmd := &cobra.Command{
		Use:   "load VM NAME",
		Short: "Bring a VM back to a snapshot",
		Long: "Bring a VM back to a snapshot. What was written since is lost, unless another snapshot has it.\n" +
			"The next start of a VM that is not running continues from the memory of a snapshot that has\n" +
			"it; with --cold it boots.",
		Args: cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			if err := a.confirm(ctx, "give up what is in "+args[0]+" now"); err != nil {
				return err
			}
			var opts []snapshot.Option
			if cold {
				opts = append(opts, snapshot.ColdBoot())
			}
			if paused {
				opts = append(opts, snapshot.ThenPause())
			}
			if running {
				opts = append(opts, snapshot.ThenRun())
			}
			err := a.showingWork(ctx, args[1], opts, func(opts []snapshot.Option) error {
				return m.Snapshot.Load(ctx, args[0], args[1], opts...)
			})
			return a.didTo(ctx, m, args[0], args[1], "loaded", err)
		}),
		ValidArgsFunction: a.snapshotNames,
	}
	cmd.Flags().BoolVar(&cold, "cold", false, "of a VM that is not running: load the disks only, so that it boots")
	cmd.Flags().BoolVar(&paused, "paused", false, "leave the guest paused")
	cmd.Flags().BoolVar(&running, "running", false, "let the guest run afterwards")
	cmd.MarkFlagsMutuallyExclusive("paused", "running", "cold")
	return cmd
}

func (a *app) snapshotRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm VM NAME...",
		Short: "Delete snapshots; the VM stays as it is",
		Args:  cobra.MinimumNArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			inst, err := m.VM.Get(ctx, args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(ctx, "delete "+strings.Join(args[1:], ", ")+" of "+inst.Name); err != nil {
				return err
			}
			done := []deed{}
			for _, name := range args[1:] {
				err := a.showingWork(ctx, name, nil, func(opts []snapshot.Option) error {
					return m.Snapshot.Delete(ctx, inst.ID, name, opts...)
				})
				if err != nil {
					return joined(a.deeds(done), err)
				}
				done = append(done, deed{Name: name, Action: "deleted"})
			}
			return a.deeds(done)
		}),
		ValidArgsFunction: a.snapshotNames,
	}
}

// merging is what Commit, Stream and Drop are.
type merging = func(c *snapshot.Coordinator, ctx context.Context, ref, name string, opts ...snapshot.Option) error

// snapshotMergeCommand is one of those; lost is what has to be confirmed, if anything.
func (a *app) snapshotMergeCommand(name, short, action, lost string, do merging) *cobra.Command {
	return &cobra.Command{
		Use:   name + " VM NAME",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			if lost != "" {
				if err := a.confirm(ctx, lost+" "+args[1]); err != nil {
					return err
				}
			}
			err := a.showingWork(ctx, args[1], nil, func(opts []snapshot.Option) error {
				return do(m.Snapshot, ctx, args[0], args[1], opts...)
			})
			return a.didTo(ctx, m, args[0], args[1], action, err)
		}),
		ValidArgsFunction: a.snapshotNames,
	}
}

func (a *app) snapshotBlockersCommand() *cobra.Command {
	var diskOnly, cold bool
	cmd := &cobra.Command{
		Use:   "blockers VM [NAME]",
		Short: "Say what stands in the way of a snapshot, or of loading NAME",
		Args:  cobra.RangeArgs(1, 2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) (err error) {
			list := []snapshot.Blocker{}
			var found []snapshot.Blocker
			switch {
			case len(args) == 2 && diskOnly, len(args) == 1 && cold:
				return usagef("--disk-only is for making a snapshot, --cold for loading NAME")
			case len(args) == 2 && cold:
				found, err = m.Snapshot.LoadBlockers(ctx, args[0], args[1], snapshot.ColdBoot())
			case len(args) == 2:
				found, err = m.Snapshot.LoadBlockers(ctx, args[0], args[1])
			case diskOnly:
				found, err = m.Snapshot.Blockers(ctx, args[0], snapshot.DiskOnly())
			default:
				found, err = m.Snapshot.Blockers(ctx, args[0])
			}
			if err != nil {
				return err
			}
			return a.showBlockers(append(list, found...))
		}),
		ValidArgsFunction: a.snapshotNames,
	}
	cmd.Flags().BoolVar(&diskOnly, "disk-only", false, "of a snapshot without memory, of a running VM")
	cmd.Flags().BoolVar(&cold, "cold", false, "of loading the disks only")
	return cmd
}
