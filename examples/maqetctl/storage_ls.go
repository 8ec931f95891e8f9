package main

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// imageShown is an image in the folder of images.
type imageShown struct {
	Name      string `json:"name"` // relative to the folder
	Path      string `json:"path"`
	Format    string `json:"format,omitempty"`
	Size      int64  `json:"size"`              // bytes, as the guest sees it
	Allocated int64  `json:"allocated"`         // bytes on this host
	VM        string `json:"vm,omitempty"`      // that uses it
	Problem   string `json:"problem,omitempty"` // why it can't be read
}

func (a *app) storageLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the images in the folder of images, and who uses them",
		Args:  cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, _ []string) error {
			list, err := images(ctx, m)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, i := range list {
				rows = append(rows, []string{i.Name, ifEmpty(i.Format, "?"), vm.Size(i.Size).String(), vm.Size(i.Allocated).String(),
					ifEmpty(i.VM, "-"), i.Problem})
			}
			return a.show(list, func(w io.Writer) error {
				if len(rows) == 0 {
					_, err := io.WriteString(w, "there are no images in "+m.Storage.Root()+"\n")
					return err
				}
				return table("NAME FORMAT SIZE ALLOCATED VM PROBLEM", rows)(w)
			})
		}),
	}
}

func images(ctx context.Context, m *maqet.Maqet) ([]imageShown, error) {
	users, err := imageUsers(ctx, m)
	if err != nil {
		return nil, err
	}
	root := m.Storage.Root()
	list := []imageShown{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // nothing was made yet, or it has just gone
			return nil
		}
		if err != nil || ctx.Err() != nil || !d.Type().IsRegular() {
			return joined(err, ctx.Err())
		}
		name, err := filepath.Rel(root, path)
		img := imageShown{Name: name, Path: path, Format: vm.Disk{Path: path}.ImageFormat(), VM: users[path]}
		if got, err := m.Storage.Inspect(ctx, path, img.Format); err != nil {
			img.Problem = err.Error()
		} else {
			img.Size, img.Allocated = got.Size, got.Allocated
		}
		list = append(list, img)
		return err
	})
	return list, err
}

// sourcePath is where an image that is only read is: what is there by that path, or else in the
// folder of images.
func sourcePath(m *maqet.Maqet, path string) string {
	if _, err := os.Lstat(path); err == nil {
		return path
	}
	if own := imagePath(m, path); own != path {
		if _, err := os.Lstat(own); err == nil {
			return own
		}
	}
	return path
}

// imagePath is where the image called name is.
func imagePath(m *maqet.Maqet, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(m.Storage.Root(), name)
}

// imageUsers tells of each image that a VM names, or that was made for it, which VM it is.
func imageUsers(ctx context.Context, m *maqet.Maqet) (map[string]string, error) {
	files, err := m.Storage.Files(ctx, storage.FileFilter{})
	if err != nil {
		return nil, err
	}
	list, err := m.VM.List(ctx, vm.Filter{})
	users := map[string]string{}
	for _, inst := range list {
		for _, f := range files { // its layers, too, and what they stand on
			if f.Owner == inst.ID {
				users[f.Path] = inst.Name
			}
		}
		for _, i := range inst.Runtime.Disks {
			users[i.Path] = inst.Name
		}
		for _, d := range inst.Config.Disks {
			users[d.Path], users[d.Base] = inst.Name, inst.Name
		}
		for _, d := range inst.Plugged {
			if d.Disk != nil {
				users[d.Disk.Path] = inst.Name
			}
		}
	}
	delete(users, "")
	return users, err
}

// unused refuses an image that a VM uses.
func unused(ctx context.Context, m *maqet.Maqet, path string) error {
	users, err := imageUsers(ctx, m)
	if err != nil {
		return err
	}
	if name := users[path]; name != "" {
		return &errors.Error{Kind: errors.ErrImageInUse, Op: "delete " + path, VM: name, Msg: "the VM uses it",
			Hint: "'maqetctl rm --images' removes a VM with its images"}
	}
	return nil
}

// known fails if there is no such image, and none was made by that name.
func known(ctx context.Context, m *maqet.Maqet, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // what it is shows later
	}
	files, err := m.Storage.Files(ctx, storage.FileFilter{Path: path})
	if err == nil && len(files) == 0 {
		err = &errors.Error{Kind: errors.ErrImageNotFound, Op: "delete image " + strconv.Quote(path)}
	}
	return err
}
