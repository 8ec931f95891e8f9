package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func (a *app) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up the disks of VMs into folders, and restore them",
		Long: "Back up the disks of VMs into folders, and restore them. The first backup in a folder is whole, the\n" +
			"next ones have what was written since. A VM that runs goes on.",
		RunE: needsCommand,
	}
	cmd.AddCommand(a.backupCreateCommand(), a.backupLsCommand(), a.backupVerifyCommand(), a.backupRestoreCommand())
	return cmd
}

func (a *app) backupCreateCommand() *cobra.Command {
	var full, noFreeze, freeze, noChecksums bool
	cmd := &cobra.Command{
		Use:     "create VM DIR",
		Short:   "Back up a VM's disks into a folder",
		Example: "  maqetctl backup create web /srv/backups/web",
		Args:    cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			var opts []snapshot.Option
			for _, o := range []struct {
				given  bool
				option snapshot.Option
			}{{full, snapshot.FullBackup()}, {noChecksums, snapshot.NoChecksums()}, {noFreeze, snapshot.NoFreeze()}, {freeze, snapshot.MustFreeze()}} {
				if o.given {
					opts = append(opts, o.option)
				}
			}
			var made snapshot.Backup
			err := a.showingWork(ctx, args[0], opts, func(opts []snapshot.Option) (err error) {
				made, err = m.Snapshot.Backup(ctx, args[0], args[1], opts...)
				return err
			})
			if err != nil {
				return err
			}
			return a.show(made, backupTable([]snapshot.Backup{made}))
		}),
		ValidArgsFunction: a.vmNames(1),
	}
	cmd.Flags().BoolVar(&full, "full", false, "copy the disks whole, whatever was copied before")
	cmd.Flags().BoolVar(&noChecksums, "no-checksums", false, "don't read what was written again for its checksums")
	cmd.Flags().BoolVar(&noFreeze, "no-freeze", false, "don't ask the guest to flush its file systems")
	cmd.Flags().BoolVar(&freeze, "freeze", false, "fail if the guest can't flush its file systems")
	cmd.MarkFlagsMutuallyExclusive("freeze", "no-freeze")
	return cmd
}

// backupTable writes a row for each disk of each backup.
func backupTable(list []snapshot.Backup) func(io.Writer) error {
	var rows [][]string
	for _, b := range list {
		for _, d := range b.Disks {
			kind := "whole"
			if d.Base != "" {
				kind = "changes"
			}
			rows = append(rows, []string{strconv.Itoa(b.Number), ago(b.Created), b.Name, d.Name, kind, mebibytes(d.Bytes), d.File})
		}
	}
	return table("NUMBER AGE VM DISK KIND SIZE FILE", rows)
}

func (a *app) backupLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls DIR",
		Short: "List the backups in a folder",
		Args:  cobra.ExactArgs(1),
		RunE: a.plain(func(_ context.Context, args []string) error {
			list, err := snapshot.Backups(args[0])
			if err != nil {
				return err
			}
			return a.show(list, backupTable(list))
		}),
	}
}

func (a *app) backupVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Check that all backups in a folder can be restored",
		Args:  cobra.ExactArgs(1),
		RunE: a.plain(func(ctx context.Context, args []string) error {
			err := a.showingWork(ctx, "verify", nil, func(opts []snapshot.Option) error {
				return snapshot.VerifyBackup(ctx, args[0], opts...)
			})
			if err != nil {
				return err
			}
			return a.did(deed{Name: args[0], Action: "sound"})
		}),
	}
}

func (a *app) backupRestoreCommand() *cobra.Command {
	var spec snapshot.RestoreSpec
	cmd := &cobra.Command{
		Use:   "restore DIR TARGET",
		Short: "Write the disks of a backup into new images in the folder TARGET",
		Args:  cobra.ExactArgs(2),
		RunE: a.plain(func(ctx context.Context, args []string) error {
			spec.Dir = args[1]
			var paths map[string]string
			err := a.showingWork(ctx, "restore", nil, func(opts []snapshot.Option) (err error) {
				paths, err = snapshot.RestoreBackup(ctx, args[0], spec, opts...)
				return err
			})
			if err != nil {
				return err
			}
			return a.show(paths, func(w io.Writer) error {
				for _, disk := range slices.Sorted(maps.Keys(paths)) {
					if _, err := fmt.Fprintf(w, "%s: %s\n", disk, printable(paths[disk])); err != nil {
						return err
					}
				}
				return nil
			})
		}),
	}
	cmd.Flags().IntVar(&spec.Number, "number", 0, "which backup (default: the newest)")
	cmd.Flags().StringVarP(&spec.Format, "format", "f", "", "raw or qcow2 (default: qcow2)")
	complete(cmd, "format", words(vm.FormatQcow2, vm.FormatRaw))
	return cmd
}
