package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// startParallel is how many VMs start at once.
const startParallel = 8

type startFlags struct{ paused, noWait bool }

func (a *app) startCommand() *cobra.Command {
	var flags startFlags
	cmd := &cobra.Command{
		Use:   "start VM...",
		Short: "Start VMs, and wait until their guests answer",
		Long: "Start VMs, several at once, and wait until the agent in each guest answers.\n" +
			"A start that fails, or that Ctrl-C ends, is undone.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			return a.start(ctx, m, refs, flags)
		}),
	}
	cmd.Flags().BoolVar(&flags.paused, "paused", false, "leave the virtual CPUs halted; 'resume' lets them run")
	cmd.Flags().BoolVar(&flags.noWait, "no-wait", false, "return when the guest's CPUs run, for guests without an agent")
	return cmd
}

// started is what became of one start.
type started struct {
	Name     string         `json:"name"`
	ID       string         `json:"id"`
	State    vm.State       `json:"state"`
	PID      int            `json:"pid"`
	Accel    string         `json:"accel"`
	Seconds  float64        `json:"seconds"`
	Steps    []stepTime     `json:"steps"`
	Forwards []forwardShown `json:"forwards,omitempty"`
}

type stepTime struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

func (a *app) start(ctx context.Context, m *maqet.Maqet, refs []string, flags startFlags) error {
	insts, err := find(ctx, m, refs)
	if err != nil {
		return err
	}
	for _, inst := range insts { // before any starts
		if err := startableHere(inst); err != nil {
			return err
		}
	}
	done := make([]*started, len(insts))
	errs := make([]error, len(insts))
	bars := a.progress(ctx)
	var group errgroup.Group
	group.SetLimit(startParallel)
	for i, inst := range insts {
		step, end := bars.starting(inst.Name)
		group.Go(func() error {
			done[i], errs[i] = startOne(ctx, m, inst.ID, flags, step)
			end(errs[i])
			return nil
		})
	}
	_ = group.Wait() // errors are in errs
	bars.wait()
	var list []*started
	for _, s := range done {
		if s != nil {
			list = append(list, s)
		}
	}
	err = joinAll(errs)
	if len(list) == 0 {
		return err
	}
	return joined(err, a.show(list, func(w io.Writer) error {
		for _, s := range list {
			if _, err := fmt.Fprintf(w, "%s: %s after %.1f s (%s)%s\n", s.Name, s.State, s.Seconds, s.Accel, forwardsText(s.Forwards)); err != nil {
				return err
			}
		}
		return nil
	}))
}

// startableHere refuses an ephemeral VM: it belongs to another process, and if this one
// started it, it would end with this command.
func startableHere(inst vm.Instance) error {
	if inst.Config.Lifetime == vm.Persistent {
		return nil
	}
	return &errors.TransitionError{VM: inst.Name, Op: "start", State: string(inst.State),
		Hint: "it is ephemeral: it would end with this command"}
}

func startOne(ctx context.Context, m *maqet.Maqet, id string, flags startFlags, step func(vm.Step)) (*started, error) {
	machine, err := m.Machine(ctx, id)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	opts := []vm.StartOption{vm.OnStep(step)}
	if flags.paused {
		opts = append(opts, vm.StartPaused())
	}
	if flags.noWait {
		_, err = m.VM.Start(ctx, id, opts...)
	} else {
		err = machine.Start(ctx, opts...)
	}
	if err != nil {
		return nil, err
	}
	took := time.Since(begun)
	inst, err := machine.Instance(ctx)
	if err != nil {
		return nil, err
	}
	s := &started{Name: inst.Name, ID: inst.ID, State: inst.State, PID: inst.Runtime.Process.PID, Accel: inst.Runtime.Accel,
		Seconds: took.Seconds(), Forwards: forwardsOf(inst)}
	for _, step := range inst.Steps {
		s.Steps = append(s.Steps, stepTime{step.Name, step.Duration.Seconds()})
	}
	return s, nil
}

// find returns the records of several VMs, all or none, each once.
func find(ctx context.Context, m *maqet.Maqet, refs []string) ([]vm.Instance, error) {
	var list []vm.Instance
	seen := map[string]bool{}
	for _, ref := range refs {
		inst, err := m.VM.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		if !seen[inst.ID] {
			list = append(list, inst)
		}
		seen[inst.ID] = true
	}
	return list, nil
}

// joinAll joins errors, and leaves a single one as it is.
func joinAll(errs []error) (all error) {
	for _, err := range errs {
		all = joined(all, err)
	}
	return all
}
