package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
)

// snapshotLine says what a snapshot is, in one line.
func snapshotLine(s snapshot.Snapshot) string {
	var b strings.Builder
	b.WriteString(s.Name)
	if s.Current {
		b.WriteString(" *")
	}
	fmt.Fprintf(&b, "  %s, %s ago", s.Kind, ago(s.Created))
	if s.Status != snapshot.OK {
		b.WriteString(", " + string(s.Status))
	}
	if s.Size > 0 {
		b.WriteString(", " + mebibytes(s.Size))
	}
	var absent []string
	for _, d := range s.Disks {
		if !d.Present {
			absent = append(absent, d.Name)
		}
	}
	if len(absent) > 0 {
		b.WriteString(", not on " + strings.Join(absent, ", "))
	}
	if s.Description != "" {
		b.WriteString(": " + s.Description)
	}
	return printable(b.String())
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// snapshotDeed is what is printed of a snapshot that was worked on.
type snapshotDeed struct {
	deed
	VM string `json:"vm"`
}

// didTo prints what was done to a snapshot, unless it failed.
func (a *app) didTo(ctx context.Context, m *maqet.Maqet, ref, name, action string, err error) error {
	if err != nil {
		return err
	}
	inst, err := m.VM.Get(ctx, ref)
	if err != nil {
		return err
	}
	return a.show(snapshotDeed{deed{Name: name, Action: action}, inst.Name}, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %s %s, the VM is %s\n", inst.Name, action, printable(name), inst.State)
		return err
	})
}

func (a *app) showBlockers(list []snapshot.Blocker) error {
	return a.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := io.WriteString(w, "nothing stands in the way\n")
			return err
		}
		for _, b := range list {
			text := printable(b.Reason)
			if b.Device != "" {
				text = printable(b.Device) + " " + text
			}
			if _, err := fmt.Fprintf(w, "%s\n  -> %s\n", text, printable(b.Fix)); err != nil {
				return err
			}
		}
		return nil
	})
}

// showingWork calls fn with options that draw how far it is.
func (a *app) showingWork(ctx context.Context, name string, opts []snapshot.Option, fn func([]snapshot.Option) error) error {
	p := a.progress(ctx)
	defer p.wait()
	tell, end := p.working(printable(name))
	err := fn(append(opts, snapshot.OnProgress(tell)))
	end(err)
	return err
}

// snapshotNames completes a VM's name, and then those of its snapshots.
func (a *app) snapshotNames(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.vmNames(1)(cmd, args, typed)
	}
	m, err := a.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = m.Close() }()
	list, _ := m.Snapshot.List(cmd.Context(), args[0])
	var names []string
	for _, s := range list {
		if !slices.Contains(args[1:], s.Name) {
			names = append(names, s.Name)
		}
	}
	return beginning(typed, names), cobra.ShellCompDirectiveNoFileComp
}

func progressOf(done, total int64) snapshot.Progress {
	return snapshot.Progress{Done: done, Total: total}
}
