package main

import (
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

func (a *app) storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Make, look at and delete disk images",
		Long: "Make, look at and delete disk images. NAME is an image in the folder 'images' below\n" +
			"--dir, where maqet makes its images; nothing outside of it is written or deleted.",
		RunE: needsCommand,
	}
	cmd.AddCommand(a.storageLsCommand(), a.storageInfoCommand(), a.storageCreateCommand(), a.storageOverlayCommand(), a.storageRmCommand(),
		a.storageImportCommand(), a.storageCloneCommand(), a.storageConvertCommand(), a.storageResizeCommand(), a.storageCheckCommand(),
		a.storageMapCommand(), a.storageMeasureCommand(), a.storageOrphansCommand(), a.storageVerifyCommand(), a.storageAttachCommand())
	return cmd
}

// imageFormat is the format that is stated, or what the file's ending says; it is never
// guessed from what is in the file, which a guest may have written.
func imageFormat(stated, path string) (string, error) {
	format := ifEmpty(stated, vm.Disk{Path: path}.ImageFormat())
	if format == "" {
		return "", usagef("%s does not say what format it has: give --format", path)
	}
	return format, nil
}

func formatFlag(cmd *cobra.Command, format *string, what string) {
	cmd.Flags().StringVarP(format, "format", "f", "", "raw or qcow2 (default: by "+what+"'s ending)")
	complete(cmd, "format", words(vm.FormatQcow2, vm.FormatRaw))
}

func (a *app) showImage(img storage.Image) error {
	return a.show(img, pairs([2]string{"path", img.Path}, [2]string{"format", img.Format},
		[2]string{"size", vm.Size(img.Size).String()}, [2]string{"allocated", vm.Size(img.Allocated).String()},
		[2]string{"base", img.Base}, [2]string{"base format", img.BaseFormat}))
}

func (a *app) storageInfoCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "info PATH",
		Short: "Show what an image is; it may be in use",
		Args:  cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			format, err := imageFormat(format, args[0])
			if err != nil {
				return err
			}
			img, err := m.Storage.Inspect(ctx, sourcePath(m, args[0]), format)
			if err != nil {
				return err
			}
			return a.showImage(img)
		}),
	}
	formatFlag(cmd, &format, "PATH")
	return cmd
}

func (a *app) storageCreateCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "create NAME SIZE",
		Short:   "Make an empty image",
		Example: "  maqetctl storage create data.qcow2 20G",
		Args:    cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			size, err := vm.ParseSize(args[1])
			if err != nil {
				return &usageError{err: err}
			}
			path := imagePath(m, args[0])
			img, err := m.Storage.Create(ctx, storage.CreateSpec{Path: path, Format: ifEmpty(format, vm.Disk{Path: path}.ImageFormat()), Size: int64(size)})
			if err != nil {
				return err
			}
			return a.showImage(img)
		}),
	}
	formatFlag(cmd, &format, "NAME")
	return cmd
}

func (a *app) storageOverlayCommand() *cobra.Command {
	var format, size string
	cmd := &cobra.Command{
		Use:     "overlay NAME BASE",
		Short:   "Make a qcow2 image that begins as another one, which is never written",
		Example: "  maqetctl storage overlay web.qcow2 debian.qcow2 --size 20G",
		Args:    cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			format, err := imageFormat(format, args[1])
			if err != nil {
				return err
			}
			var larger vm.Size
			if size != "" {
				if larger, err = vm.ParseSize(size); err != nil {
					return &usageError{err: err}
				}
			}
			path := imagePath(m, args[0])
			base, err := filepath.Abs(sourcePath(m, args[1]))
			if err != nil {
				return err
			}
			img, err := m.Storage.Overlay(ctx, storage.OverlaySpec{Path: path, Base: base, BaseFormat: format, Size: int64(larger)})
			if err != nil {
				return err
			}
			return a.showImage(img)
		}),
	}
	formatFlag(cmd, &format, "BASE")
	cmd.Flags().StringVar(&size, "size", "", "make it larger than its base")
	return cmd
}

func (a *app) storageRmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Delete an image that maqet made",
		Args:  cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			path := imagePath(m, args[0])
			if err := known(ctx, m, path); err != nil {
				return err
			}
			if err := unused(ctx, m, path); err != nil {
				return err
			}
			if err := a.confirm(ctx, "delete "+path); err != nil {
				return err
			}
			if err := m.Storage.Delete(ctx, path); err != nil {
				return err
			}
			return a.show(deed{Name: path, Action: "deleted"}, func(w io.Writer) error {
				_, err := io.WriteString(w, path+": deleted\n")
				return err
			})
		}),
	}
}
