package main

import (
	"context"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
)

func (a *app) cpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cp SOURCE TARGET",
		Short: "Copy files and folders into a guest, or out of it",
		Long: "Copy a file or a folder as 'cp -r' does. One of SOURCE and TARGET is VM:PATH, the\n" +
			"other a path of this host, or '-' for standard input or output, which takes a\n" +
			"single file. A path of this host with a colon is written ./with:colon.",
		Example:           "  maqetctl cp ./site web:/srv\n  maqetctl cp web:/var/log/messages .\n  maqetctl cp web:/proc/cpuinfo -",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.copyEnds,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			from, to := parseEnd(args[0]), parseEnd(args[1])
			switch {
			case from.vm == "" && to.vm == "":
				return usagef("neither %q nor %q is VM:PATH", args[0], args[1])
			case from.vm != "" && to.vm != "":
				return usagef("only one of %q and %q can be in a guest", args[0], args[1])
			case to.vm != "":
				return a.copyTo(ctx, m, from.path, to)
			}
			return a.copyFrom(ctx, m, from, to.path)
		}),
	}
}

// copyEnd is one end of a copy.
type copyEnd struct{ vm, path string } // vm is empty for this host

// parseEnd reads VM:PATH or a path. A VM's name has no slash.
func parseEnd(text string) copyEnd {
	name, path, ok := strings.Cut(text, ":")
	if !ok || name == "" || strings.ContainsRune(name, '/') {
		return copyEnd{path: text}
	}
	return copyEnd{name, path}
}

// copyEnds completes both ends by VMs' names and by files.
func (a *app) copyEnds(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || strings.ContainsAny(typed, "/:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.vmNames(0)(cmd, nil, typed)
	for i, name := range names {
		name, _, _ = strings.Cut(name, "\t")
		names[i] = name + ":"
	}
	if len(names) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// copied is what 'cp' prints with --json.
type copied struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Bytes int64  `json:"bytes"` // with the headers of an archive
}

func (a *app) copyTo(ctx context.Context, m *maqet.Maqet, from string, to copyEnd) error {
	if from == "-" {
		return a.copyIn(ctx, m, to)
	}
	total, err := sizeOf(ctx, from)
	if err != nil {
		return err
	}
	return a.copying(ctx, copied{From: from, To: to.vm + ":" + to.path}, total, func(ctx context.Context) error {
		return m.Guest.CopyTo(ctx, to.vm, from, to.path)
	})
}

func (a *app) copyFrom(ctx context.Context, m *maqet.Maqet, from copyEnd, to string) error {
	if to == "-" {
		data, err := m.Guest.ReadFile(ctx, from.vm, from.path)
		if err != nil {
			return err
		}
		_, err = a.out.Write(data)
		return err
	}
	return a.copying(ctx, copied{From: from.vm + ":" + from.path, To: to}, 0, func(ctx context.Context) error {
		return m.Guest.CopyFrom(ctx, from.vm, from.path, to)
	})
}

// copying does a copy with a bar.
func (a *app) copying(ctx context.Context, c copied, total int64, fn func(context.Context) error) error {
	bars := a.progress(ctx)
	more, end := bars.copying(c.From, total)
	err := fn(guest.OnCopied(ctx, func(n int) {
		c.Bytes += int64(n)
		more(n)
	}))
	end(err)
	bars.wait()
	if err != nil || !a.json {
		return err
	}
	return a.show(c, nil)
}

// copyIn writes standard input to a file in the guest.
func (a *app) copyIn(ctx context.Context, m *maqet.Maqet, to copyEnd) error {
	in, stop, err := a.stdin(ctx)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(in)
	if err = joined(err, stop()); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if err := m.Guest.WriteFile(ctx, to.vm, to.path, data, 0o644); err != nil || !a.json {
		return err
	}
	return a.show(copied{"-", to.vm + ":" + to.path, int64(len(data))}, nil)
}

// sizeOf is how many bytes the files of a tree have, for the bar.
func sizeOf(ctx context.Context, path string) (total int64, err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return 0, err
	}
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return joined(err, ctx.Err())
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total, err
}
