package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// bytesBar returns what draws how far a long work on an image is, and what ends that.
func (a *app) bytesBar(ctx context.Context, name string) (tell func(done, total int64), end func(error)) {
	p := a.progress(ctx)
	step, ended := p.working(printable(name))
	return func(done, total int64) { step(progressOf(done, total)) }, func(err error) {
		ended(err)
		p.wait()
	}
}

// making is how an image is made of another one.
type making = func(ctx context.Context, m *maqet.Maqet, source, format, path string, tell func(done, total int64)) (storage.Image, error)

// storageMakeCommand is 'import', 'clone' and 'convert'.
func (a *app) storageMakeCommand(name, short string, flags func(*cobra.Command), do making) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   name + " SOURCE NAME",
		Short: short,
		Args:  cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			format, err := imageFormat(format, args[0])
			if err != nil {
				return err
			}
			tell, end := a.bytesBar(ctx, args[1])
			img, err := do(ctx, m, sourcePath(m, args[0]), format, imagePath(m, args[1]), tell)
			end(err)
			if err != nil {
				return err
			}
			return a.showImage(img)
		}),
	}
	formatFlag(cmd, &format, "SOURCE")
	if flags != nil {
		flags(cmd)
	}
	return cmd
}

func (a *app) storageImportCommand() *cobra.Command {
	var sha256 string
	return a.storageMakeCommand("import", "Take an image from anywhere into the folder of images",
		func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&sha256, "sha256", "", "the sum that SOURCE must have, in hexadecimal digits")
		},
		func(ctx context.Context, m *maqet.Maqet, source, format, path string, tell func(done, total int64)) (storage.Image, error) {
			return m.Storage.Import(ctx, storage.ImportSpec{Source: source, Format: format, Path: path, SHA256: sha256, Progress: tell})
		})
}

func (a *app) storageCloneCommand() *cobra.Command {
	return a.storageMakeCommand("clone", "Copy an image, without using space where the file system can", nil,
		func(ctx context.Context, m *maqet.Maqet, source, format, path string, tell func(done, total int64)) (storage.Image, error) {
			return m.Storage.Clone(ctx, storage.CloneSpec{Source: source, Format: format, Path: path, Progress: tell})
		})
}

func (a *app) storageConvertCommand() *cobra.Command {
	var to string
	var compress bool
	return a.storageMakeCommand("convert", "Make an image of another format, which stands on nothing",
		func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&to, "to", "", "raw or qcow2 (default: qcow2)")
			cmd.Flags().BoolVar(&compress, "compress", false, "compress what is in a qcow2")
			complete(cmd, "to", words(vm.FormatQcow2, vm.FormatRaw))
		},
		func(ctx context.Context, m *maqet.Maqet, source, format, path string, tell func(done, total int64)) (storage.Image, error) {
			return m.Storage.Convert(ctx, storage.ConvertSpec{Source: source, Format: format, Path: path, To: to, Compress: compress, Progress: tell})
		})
}

func (a *app) storageResizeCommand() *cobra.Command {
	var format, from string
	cmd := &cobra.Command{
		Use:   "resize PATH SIZE",
		Short: "Make an image that nobody uses larger, or with --from smaller",
		Args:  cobra.ExactArgs(2),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			path := imagePath(m, args[0])
			format, err := imageFormat(format, path)
			if err != nil {
				return err
			}
			size, err := vm.ParseSize(args[1])
			if err != nil {
				return &usageError{err: err}
			}
			spec := storage.ResizeSpec{Path: path, Format: format, Size: int64(size)}
			if from != "" {
				now, err := vm.ParseSize(from)
				if err != nil {
					return &usageError{err: err}
				}
				spec.Shrink, spec.From = true, int64(now)
				if err := a.confirm(ctx, "cut off what lies behind "+size.String()+" of "+path); err != nil {
					return err
				}
			} else if img, err := m.Storage.Inspect(ctx, path, format); err == nil && img.Size > spec.Size {
				return &usageError{err: fmt.Errorf("%s has %s, and what lies behind %s would be lost: give --from %[2]s, too", path, vm.Size(img.Size), size)}
			}
			img, err := m.Storage.Resize(ctx, spec)
			if err != nil {
				return err
			}
			return a.showImage(img)
		}),
	}
	formatFlag(cmd, &format, "PATH")
	cmd.Flags().StringVar(&from, "from", "", "the size that it has now, to make it smaller: what lies behind is lost")
	return cmd
}

func (a *app) storageCheckCommand() *cobra.Command {
	return a.storageLookCommand("check", "Look for damage in an image that nobody uses",
		func(ctx context.Context, m *maqet.Maqet, path, format string) error {
			report, err := m.Storage.Check(ctx, path, format)
			if err != nil {
				return err
			}
			err = a.show(report, pairs([2]string{"corruptions", strconv.FormatInt(report.Corruptions, 10)},
				[2]string{"leaks", strconv.FormatInt(report.Leaks, 10)}, [2]string{"errors", strconv.FormatInt(report.Errors, 10)}))
			if err == nil && !report.Clean() {
				err = &errors.Error{Kind: errors.ErrStorage, Op: "check " + path, Msg: "the image is not clean"}
			}
			return err
		})
}

func (a *app) storageMapCommand() *cobra.Command {
	return a.storageLookCommand("map", "Show which parts of an image hold data, and in which of its layers",
		func(ctx context.Context, m *maqet.Maqet, path, format string) error {
			list, err := m.Storage.Map(ctx, path, format)
			if err != nil {
				return err
			}
			var rows [][]string
			for _, e := range list {
				rows = append(rows, []string{fmt.Sprint(e.Start), fmt.Sprint(e.Length), fmt.Sprint(e.Depth), fmt.Sprint(e.Data), fmt.Sprint(e.Zero)})
			}
			return a.show(list, func(w io.Writer) error { return table("START LENGTH DEPTH DATA ZERO", rows)(w) })
		})
}

func (a *app) storageMeasureCommand() *cobra.Command {
	return a.storageLookCommand("measure", "Say how much space an image would take as a qcow2",
		func(ctx context.Context, m *maqet.Maqet, path, format string) error {
			size, err := m.Storage.Measure(ctx, storage.MeasureSpec{Path: path, Format: format})
			if err != nil {
				return err
			}
			return a.show(size, pairs([2]string{"at first", mebibytes(size.Required)}, [2]string{"when full", mebibytes(size.Full)}))
		})
}

// storageLookCommand is one that says something of an image.
func (a *app) storageLookCommand(name, short string, look func(ctx context.Context, m *maqet.Maqet, path, format string) error) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   name + " PATH",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			path := imagePath(m, args[0])
			format, err := imageFormat(format, path)
			if err != nil {
				return err
			}
			return look(ctx, m, path, format)
		}),
	}
	formatFlag(cmd, &format, "PATH")
	return cmd
}
