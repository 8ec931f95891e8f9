package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// cleaned is what became of one VM.
type cleaned struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Action string `json:"action"` // "removed", or what is recorded now, as "failed: vanished"
	Error  string `json:"error,omitempty"`
}

func (a *app) cleanupCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what crashed processes left",
		Long: "Remove VMs whose process is gone and that should have ended with it, with all that\n" +
			"was made for them, and correct the records of others. What runs is not touched.",
		Args: cobra.NoArgs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, _ []string) error {
			gone, wrong, err := leftovers(ctx, m)
			if err != nil {
				return err
			}
			if dry {
				return a.cleaned(planned(gone, wrong))
			}
			if len(gone) > 0 {
				if err := a.confirm(ctx, "remove "+namesOf(gone)+", left by processes that are gone"); err != nil {
					return err
				}
			}
			report, err := m.Cleanup.Sweep(ctx)
			rows := []cleaned{}
			for _, r := range report.Rows {
				row := cleaned{Name: r.Name, ID: r.ID, Action: r.Action}
				if r.Err != nil {
					row.Error = r.Err.Error()
				}
				rows = append(rows, row)
			}
			return joined(err, a.cleaned(rows))
		}),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	return cmd
}

// leftovers finds, without changing anything, the VMs that a sweep would remove and those
// whose record it would correct.
func leftovers(ctx context.Context, m *maqet.Maqet) (gone, wrong []vm.Instance, err error) {
	list, err := m.VM.List(ctx, vm.Filter{})
	for _, inst := range list {
		switch {
		case abandoned(inst):
			gone = append(gone, inst)
		case stale(inst):
			wrong = append(wrong, inst)
		}
	}
	return gone, wrong, err
}

func planned(gone, wrong []vm.Instance) []cleaned {
	rows := []cleaned{}
	for _, inst := range gone {
		rows = append(rows, cleaned{Name: inst.Name, ID: inst.ID, Action: "would be removed"})
	}
	for _, inst := range wrong {
		rows = append(rows, cleaned{Name: inst.Name, ID: inst.ID, Action: "would be corrected"})
	}
	return rows
}

func (a *app) cleaned(rows []cleaned) error {
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Name, r.Action, strings.TrimSpace(r.Error)})
	}
	return a.show(rows, func(w io.Writer) error {
		if len(rows) == 0 {
			_, err := io.WriteString(w, "nothing was left\n")
			return err
		}
		return table("NAME ACTION ERROR", cells)(w)
	})
}
