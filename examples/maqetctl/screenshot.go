package main

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// picture is what 'screenshot' prints.
type picture struct {
	Name  string `json:"name"`
	File  string `json:"file"`
	Bytes int    `json:"bytes"`
}

func (a *app) screenshotCommand() *cobra.Command {
	var force bool
	var options qmp.ScreenshotOptions
	cmd := &cobra.Command{
		Use:   "screenshot VM FILE",
		Short: "Save what a VM's screen shows, as a PNG",
		Long: "Save what a VM's screen shows as a PNG; FILE '-' is standard output. A file that\n" +
			"exists is left alone without --force.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			png, err := m.QMP.ScreenshotPNG(ctx, args[0], options)
			if err != nil {
				return err
			}
			if args[1] == "-" {
				_, err := a.out.Write(png)
				return err
			}
			if err := save(args[1], png, force); err != nil {
				return err
			}
			return a.show(picture{args[0], args[1], len(png)}, func(w io.Writer) error {
				_, err := io.WriteString(w, args[1]+"\n")
				return err
			})
		}),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace a file that exists")
	cmd.Flags().StringVar(&options.Device, "device", "", "ID of the display device (default: the first)")
	cmd.Flags().IntVar(&options.Head, "head", 0, "which output of the device, from 0")
	return cmd
}

// save makes a file that has all of data or does not come to be. Without force a file
// that exists is left alone.
func save(path string, data []byte, force bool) error {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	name := filepath.Base(path)
	part := "." + name + ".part"
	if !force {
		part = name
	}
	f, err := dir.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) && !force {
		return &errors.Error{Kind: errors.ErrMaqet, Op: "save " + path, Msg: "not replaced", Err: os.ErrExist, Hint: "give --force to replace it"}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = joined(err, f.Close()); err == nil && force {
		err = dir.Rename(part, name)
	}
	if err != nil {
		_ = dir.Remove(part) // it is ours
	}
	return err
}
