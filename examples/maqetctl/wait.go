package main

import (
	"context"
	"io"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// waitFlags say what to wait for.
type waitFlags struct {
	states         []string
	agent          bool
	ports          []int
	files, console []string
	command        string
}

func (a *app) waitCommand() *cobra.Command {
	var flags waitFlags
	cmd := &cobra.Command{
		Use:   "wait VM",
		Short: "Wait until a VM has ended, is in a state, or its guest is ready",
		Long: "Wait until all that the flags say holds; without any, until the VM is not live.\n" +
			"--timeout bounds it. If the guest ends before it is ready, so does the wait.",
		Example:           "  maqetctl wait web --agent --port 80 --timeout 2m\n  maqetctl wait web --state stopped,failed",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			return a.wait(ctx, m, refs[0], flags)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVarP(&flags.states, "state", "s", nil, "one of these states")
	f.BoolVar(&flags.agent, "agent", false, "the guest's agent answers")
	f.IntSliceVar(&flags.ports, "port", nil, "a program in the guest listens on this TCP port")
	f.StringArrayVar(&flags.files, "file", nil, "this path exists in the guest")
	f.StringArrayVar(&flags.console, "console", nil, "the console has printed what this regular expression matches")
	f.StringVar(&flags.command, "succeeds", "", "this shell command succeeds in the guest")
	complete(cmd, "state", stateWords())
	return cmd
}

func (a *app) wait(ctx context.Context, m *maqet.Maqet, ref string, flags waitFlags) error {
	var states []vm.State
	for _, s := range flags.states {
		if !vm.State(s).Valid() {
			return usagef("there is no state %q", s)
		}
		states = append(states, vm.State(s))
	}
	conds, err := flags.conditions()
	if err != nil {
		return err
	}
	if len(states) > 0 || len(conds) == 0 {
		if _, err := m.VM.Wait(ctx, ref, states...); err != nil {
			return err
		}
	}
	if len(conds) > 0 {
		if err := m.Guest.Wait(ctx, ref, conds...); err != nil {
			return err
		}
	}
	inst, err := m.VM.Get(ctx, ref)
	if err != nil {
		return err
	}
	return a.show(shown(inst), func(w io.Writer) error {
		_, err := io.WriteString(w, inst.Name+": "+string(inst.State)+reasonText(inst.Reason)+"\n")
		return err
	})
}

func (f waitFlags) conditions() (conds []guest.Condition, err error) {
	if f.agent {
		conds = append(conds, guest.AgentReady())
	}
	for _, p := range f.ports {
		conds = append(conds, guest.PortOpen(p))
	}
	for _, path := range f.files {
		conds = append(conds, guest.FileExists(path))
	}
	for _, text := range f.console {
		pattern, err := regexp.Compile(text)
		if err != nil {
			return nil, &usageError{err: err}
		}
		conds = append(conds, guest.ConsoleMatch(pattern))
	}
	if f.command != "" {
		conds = append(conds, guest.CommandSucceeds("sh", "-c", f.command))
	}
	return conds, nil
}
