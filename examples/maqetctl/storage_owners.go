package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

func (a *app) storageOrphansCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "orphans",
		Short: "List the files in the folder of images that nobody takes care of",
		Args:  cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, _ []string) error {
			list, err := m.Storage.Orphans(ctx, func(ctx context.Context) ([]string, error) { return vmIDs(ctx, m) })
			if err != nil {
				return err
			}
			var rows [][]string
			for _, o := range list {
				rows = append(rows, []string{o.Path, string(o.Why), vm.Size(o.Allocated).String(), ifEmpty(o.Owner, "-"), ifEmpty(o.Disk, "-")})
			}
			return a.show(list, func(w io.Writer) error {
				if len(rows) == 0 {
					_, err := io.WriteString(w, "there are no orphans in "+m.Storage.Root()+"\n")
					return err
				}
				return table("PATH WHY ALLOCATED OWNER DISK", rows)(w)
			})
		}),
	}
}

// vmIDs are the IDs that images can belong to: of VMs, and of templates.
func vmIDs(ctx context.Context, m *maqet.Maqet) (ids []string, err error) {
	list, err := m.VM.List(ctx, vm.Filter{})
	for _, inst := range list {
		ids = append(ids, inst.ID)
	}
	templates, templatesErr := m.Snapshot.Templates(ctx)
	for _, t := range templates {
		ids = append(ids, t.ID)
	}
	return ids, errors.Join(err, templatesErr)
}

func (a *app) storageVerifyCommand() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare what is registered of images with the files; fails if something differs",
		Args:  cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, _ []string) error {
			tell, end := a.bytesBar(ctx, "verify")
			list, err := m.Storage.Verify(ctx, storage.VerifySpec{Deep: deep, Progress: tell})
			end(err)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, f := range list {
				rows = append(rows, []string{f.File.Path, string(f.Kind), f.Detail})
			}
			err = a.show(list, func(w io.Writer) error {
				if len(rows) == 0 {
					_, err := io.WriteString(w, "all images are as they are registered\n")
					return err
				}
				return table("PATH FOUND DETAIL", rows)(w)
			})
			if err == nil && len(list) > 0 {
				err = &errors.Error{Kind: errors.ErrStorage, Op: "verify images", Msg: fmt.Sprintf("findings: %d", len(list))}
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "check the structure of each image, too, which takes long for large ones")
	return cmd
}

func (a *app) storageAttachCommand() *cobra.Command {
	var spec storage.AttachSpec
	cmd := &cobra.Command{
		Use:   "attach NAME VM",
		Short: "Give an orphan to a VM: it is deleted with its images",
		Long: "Give an orphan to a VM: it is deleted with its images. The VM's configuration stays as\n" +
			"it is; name the image in one of its disks, as path, to have the VM use it.",
		Args: cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			inst, err := m.VM.Get(ctx, args[1])
			if err != nil {
				return err
			}
			spec.Path, spec.Owner = imagePath(m, args[0]), inst.ID
			file, err := m.Storage.Attach(ctx, spec)
			if err != nil {
				return err
			}
			return a.show(file, pairs([2]string{"path", file.Path}, [2]string{"vm", inst.Name}, [2]string{"disk", file.Disk},
				[2]string{"format", file.Format}, [2]string{"size", vm.Size(file.Size).String()}))
		}),
	}
	cmd.Flags().StringVar(&spec.Disk, "disk", "", "the VM's disk that it is to be")
	cmd.Flags().StringVar(&spec.From, "from", "", "ID of the VM that owns it now, as 'storage orphans' shows it")
	formatFlag(cmd, &spec.Format, "NAME")
	return cmd
}
