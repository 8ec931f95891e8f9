package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// answerTime is how long 'status' and 'info' wait for a guest's agent.
const answerTime = 3 * time.Second

// vmStatus is a VM as it is right now: its record, and what QEMU and the guest say.
type vmStatus struct {
	vmShown
	QEMU  string `json:"qemu,omitempty"`  // QEMU's run state, while it is live
	Agent string `json:"agent,omitempty"` // "answers", "silent" or "none", while it runs
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "status VM...",
		Short:             "Show what VMs are doing, by QEMU's and the guest's own word",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := find(ctx, m, refs)
			if err != nil {
				return err
			}
			all := make([]vmStatus, len(list))
			var group errgroup.Group
			for i, inst := range mended(ctx, m, list) {
				group.Go(func() error {
					all[i] = statusOf(ctx, m, inst)
					return nil
				})
			}
			_ = group.Wait() // what does not answer is in the status
			return a.show(all, statusTable(all))
		}),
	}
}

func statusOf(ctx context.Context, m *maqet.Maqet, inst vm.Instance) vmStatus {
	s := vmStatus{vmShown: shown(inst)}
	if inst.State != vm.Running && inst.State != vm.Paused {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s.QEMU = "no answer"
	if now, err := m.QMP.Status(ctx, inst.ID); err == nil {
		s.QEMU = now.Status
	}
	switch {
	case inst.Config.Agent.Disabled:
		s.Agent = "none"
	case inst.State == vm.Running:
		s.Agent = "silent"
		if m.Guest.Ping(ctx, inst.ID) == nil {
			s.Agent = "answers"
		}
	}
	return s
}

func statusTable(all []vmStatus) func(io.Writer) error {
	var rows [][]string
	for _, s := range all {
		pid := "-"
		if s.PID != 0 {
			pid = strconv.Itoa(s.PID)
		}
		rows = append(rows, []string{s.Name, string(s.State), ifEmpty(s.QEMU, "-"), ifEmpty(s.Agent, "-"), pid, ago(s.Changed), s.Reason})
	}
	return table("NAME STATE QEMU AGENT PID SINCE REASON", rows)
}
