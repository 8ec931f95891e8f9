package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// change is a line of 'watch'.
type change struct {
	Time    time.Time `json:"time"`
	Name    string    `json:"name"`
	ID      string    `json:"id"`
	From    vm.State  `json:"from,omitempty"` // absent: the VM was added
	To      vm.State  `json:"to,omitempty"`   // absent: the VM was removed
	Reason  string    `json:"reason,omitempty"`
	Dropped int       `json:"dropped,omitempty"` // how many changes before this one were lost
}

func (a *app) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "watch [VM...]",
		Short:             "Print each change of VMs' states, until Ctrl-C",
		Long:              "Print each change of VMs' states, by whatever process, one a line, until Ctrl-C\nor --timeout. With --json each line is an object.",
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			changes, err := m.VM.Watch(ctx)
			if err != nil {
				return err
			}
			for c := range changes {
				if len(refs) > 0 && !slices.Contains(refs, c.Name) && !slices.Contains(refs, c.ID) {
					continue
				}
				text := fmt.Sprintf("%s  %s: %s -> %s%s", c.Time.Format(time.TimeOnly), c.Name, ifEmpty(string(c.From), "(new)"),
					ifEmpty(string(c.To), "(removed)"), reasonText(c.Reason))
				if err := a.line(change{c.Time, c.Name, c.ID, c.From, c.To, c.Reason, c.Dropped}, text); err != nil {
					return err
				}
			}
			return over(ctx)
		}),
	}
}

// event is a line of 'events'.
type event struct {
	Time    time.Time       `json:"time"`
	Event   string          `json:"event"`
	Data    json.RawMessage `json:"data,omitempty"`
	Dropped int             `json:"dropped,omitempty"`
}

func (a *app) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "events VM [EVENT...]",
		Short:             "Print QEMU's own events, until the VM ends",
		Long:              "Print the events that QEMU reports of a VM, all or those named, one a line, until\nthe VM ends, Ctrl-C or --timeout. With --json each line is an object.",
		Example:           "  maqetctl events web SHUTDOWN RESET",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			events, err := m.QMP.Events(ctx, args[0], args[1:]...)
			if err != nil {
				return err
			}
			for ev := range events {
				if err := a.showEvent(ev); err != nil {
					return err
				}
			}
			return over(ctx)
		}),
	}
}

func (a *app) showEvent(ev qmp.Event) error {
	return a.line(event{ev.Time, ev.Name, ev.Data, ev.Dropped},
		fmt.Sprintf("%s  %s %s", ev.Time.Format(time.TimeOnly), ev.Name, printable(string(ev.Data))))
}

// over is how a command ends that goes on for as long as it may: --timeout is an end like
// any other for it, a signal is not.
func over(ctx context.Context) error {
	if ctx.Err() == context.DeadlineExceeded {
		return nil
	}
	return ctx.Err()
}
