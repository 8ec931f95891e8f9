package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/cleanup"
	"github.com/maqet/maqet/vm"
)

// stopped is what became of one VM, in 'stop' and 'rm'.
type stopped struct {
	Name    string  `json:"name"`
	ID      string  `json:"id"`
	Action  string  `json:"action"`       // "stopped", "removed", or "failed" for what is in Error
	By      string  `json:"by,omitempty"` // what made the guest end: "agent", "acpi", "quit", "sigterm", "sigkill"; "none": it did not run
	Error   string  `json:"error,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (a *app) stopCommand() *cobra.Command {
	var all, force bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "stop VM... | --all",
		Short: "Stop VMs: ask the guest first, then end QEMU",
		Long: "Stop VMs, several at once: the guest's agent is asked, then its power button is\n" +
			"pressed, then QEMU is ended. A VM that does not run is no error.",
		ValidArgsFunction: a.vmNames(0),
		Args:              someOrAll(&all),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := choose(ctx, m, refs, all, vm.State.Live)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return a.report(nil)
			}
			var opts []vm.StopOption
			if force {
				if err := a.confirm(ctx, "kill "+namesOf(list)+" without asking the guest, which loses what is not on its disks"); err != nil {
					return err
				}
				opts = append(opts, vm.Force())
			}
			if grace > 0 {
				opts = append(opts, vm.StopTimeout(grace))
			}
			report, err := m.Cleanup.StopAll(ctx, cleanup.Matching(vm.Filter{Names: idsOf(list)}), cleanup.StopWith(opts...),
				cleanup.Timeout(max(90*time.Second, grace+time.Minute)))
			return joined(err, a.report(rowsOf(report, list)))
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "stop every VM that runs")
	cmd.Flags().BoolVar(&force, "force", false, "don't ask the guest: kill QEMU")
	cmd.Flags().DurationVar(&grace, "grace", 0, "how long the guest may take (default: its configuration's, 10s or 40s when emulated)")
	return cmd
}

// someOrAll wants either arguments or the flag --all.
func someOrAll(all *bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case *all && len(args) > 0:
			return usagef("give either --all or VMs")
		case !*all && len(args) == 0:
			return usagef("give the VMs, or --all")
		}
		return nil
	}
}

// choose returns the VMs that are named, or all for which fn holds.
func choose(ctx context.Context, m *maqet.Maqet, refs []string, all bool, fn func(vm.State) bool) ([]vm.Instance, error) {
	if !all {
		return find(ctx, m, refs)
	}
	list, err := m.VM.List(ctx, vm.Filter{})
	var chosen []vm.Instance
	for _, inst := range list {
		if fn(inst.State) {
			chosen = append(chosen, inst)
		}
	}
	return chosen, err
}

func idsOf(list []vm.Instance) []string {
	var ids []string
	for _, inst := range list {
		ids = append(ids, inst.ID)
	}
	return ids
}

func namesOf(list []vm.Instance) string {
	var names []string
	for _, inst := range list {
		names = append(names, inst.Name)
	}
	return strings.Join(names, ", ")
}

// rowsOf tells of each VM in list what became of it. Those that were not live are not in
// the report.
func rowsOf(r cleanup.Report, list []vm.Instance) []stopped {
	var rows []stopped
	for _, inst := range list {
		at := slices.IndexFunc(r.Rows, func(row cleanup.Row) bool { return row.ID == inst.ID })
		if at < 0 {
			rows = append(rows, stopped{Name: inst.Name, ID: inst.ID, Action: "stopped", By: "none"})
			continue
		}
		row := r.Rows[at]
		s := stopped{Name: row.Name, ID: row.ID, Action: row.Action, By: row.Step, Seconds: row.Duration.Seconds()}
		if row.Err != nil {
			s.Action, s.Error = "failed", row.Err.Error()
		}
		rows = append(rows, s)
	}
	return rows
}

// report prints what became of VMs.
func (a *app) report(rows []stopped) error {
	if rows == nil {
		rows = []stopped{}
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Name, r.Action, r.By, fmt.Sprintf("%.1fs", r.Seconds)})
	}
	if len(rows) == 0 && !a.json {
		return nil
	}
	return a.show(rows, table("NAME ACTION BY TIME", cells))
}
