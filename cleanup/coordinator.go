package cleanup

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// VMs is what a Coordinator needs of vm.Manager.
type VMs interface {
	List(ctx context.Context, f vm.Filter) ([]vm.Instance, error)
	Stop(ctx context.Context, ref string, opts ...vm.StopOption) (vm.StopReport, error)
	Remove(ctx context.Context, ref string, opts ...vm.RemoveOption) error
	Reconcile(ctx context.Context) ([]vm.Instance, error)
}

// Coordinator stops and clears away VMs. It is safe for concurrent use.
type Coordinator struct {
	vms    VMs
	sweeps []sweeper
}

// sweeper clears away what is no VM.
type sweeper struct {
	what string
	fn   func(ctx context.Context) (removed []string, err error)
}

// Part adds to what a Coordinator clears away.
type Part func(*Coordinator)

// Sweeping has [Coordinator.Sweep] call fn once the VMs are swept. It returns the names of what
// it has removed; what says in reports what that is, such as "template".
func Sweeping(what string, fn func(ctx context.Context) (removed []string, err error)) Part {
	return func(c *Coordinator) { c.sweeps = append(c.sweeps, sweeper{what, fn}) }
}

// New returns a Coordinator over vms.
func New(vms VMs, parts ...Part) *Coordinator {
	c := &Coordinator{vms: vms}
	for _, p := range parts {
		p(c)
	}
	return c
}

// Option changes one call of [Coordinator.StopAll].
type Option func(*options)

type options struct {
	filter   vm.Filter
	only     func(vm.Instance) bool
	parallel int
	timeout  time.Duration
	stop     []vm.StopOption
	remove   bool
}

// Matching limits the call to the VMs that f selects. Default: all.
func Matching(f vm.Filter) Option { return func(o *options) { o.filter = f } }

// Only limits the call further, to the VMs for which fn is true.
func Only(fn func(vm.Instance) bool) Option { return func(o *options) { o.only = fn } }

// Parallel bounds how many VMs are worked on at once. Default: 8.
func Parallel(n int) Option { return func(o *options) { o.parallel = max(n, 1) } }

// Timeout bounds the time for each single VM. Default: 90 s.
func Timeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// StopWith passes options on to each stop, such as vm.Force().
func StopWith(opts ...vm.StopOption) Option {
	return func(o *options) { o.stop = append(o.stop, opts...) }
}

// AndRemove also removes each VM once it is stopped, with the images that were made
// for it if it is ephemeral.
func AndRemove() Option { return func(o *options) { o.remove = true } }

// Report has a row for each VM that was worked on, in the order of their names.
type Report struct {
	Rows     []Row
	Duration time.Duration
}

// Row says what became of one VM.
type Row struct {
	ID, Name string
	// Action is what was done, or tried if Err is set: "stopped" or "removed"; in a
	// report of Sweep "removed", "removed template", or what is recorded now: "failed: vanished".
	Action   string
	Step     string // how it was stopped, as in vm.StopReport; empty in a report of Sweep
	Duration time.Duration
	Err      error
}

// Err joins the errors of all rows, nil when there are none.
func (r Report) Err() error {
	var errs []error
	for _, row := range r.Rows {
		errs = append(errs, row.Err)
	}
	return errors.Join(errs...)
}

// StopAll stops the VMs that are live, several at once, each within a time-out of its
// own: one that is stuck delays nobody. Those whose host can't be reached may be live: unless it
// can by now, the error of their row says so. With [AndRemove] those that are not live are
// worked on, too. The error joins those of the report's rows; one VM's failure does not
// keep others from being stopped.
func (c *Coordinator) StopAll(ctx context.Context, opts ...Option) (Report, error) {
	o := options{parallel: 8, timeout: 90 * time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	begun := time.Now()
	list, err := c.vms.List(ctx, o.filter)
	if err != nil {
		return Report{}, err
	}
	rows := make([]*Row, len(list))
	var group errgroup.Group
	group.SetLimit(o.parallel)
	for i, inst := range list {
		if o.only != nil && !o.only(inst) || !mayLive(inst) && !o.remove {
			continue
		}
		group.Go(func() error {
			row := c.end(ctx, inst, o)
			rows[i] = &row
			return nil
		})
	}
	_ = group.Wait() // errors are in the rows
	report := Report{Duration: time.Since(begun)}
	for _, row := range rows {
		if row != nil {
			report.Rows = append(report.Rows, *row)
		}
	}
	return report, report.Err()
}

// mayLive reports whether a guest of the VM may exist.
func mayLive(inst vm.Instance) bool {
	return inst.State.Live() || inst.State == vm.Failed && inst.Reason == vm.ReasonHostUnreachable
}

// end stops one VM, and removes it if that is asked.
func (c *Coordinator) end(ctx context.Context, inst vm.Instance, o options) Row {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	row := Row{ID: inst.ID, Name: inst.Name}
	begun := time.Now()
	// Also one that was not live when it was listed: it may be about to start.
	rep, err := c.vms.Stop(ctx, inst.ID, o.stop...)
	row.Action, row.Step, row.Err = "stopped", rep.Step, err
	if o.remove && row.Err == nil {
		row.Action = "removed"
		row.Err = c.vms.Remove(ctx, inst.ID)
	}
	if errors.Is(row.Err, errors.ErrVMNotFound) {
		row.Err = nil // somebody else was quicker
	}
	row.Duration = time.Since(begun)
	return row
}

// Sweep brings what is recorded into agreement with what runs, and removes what
// crashed processes left: the folders, sockets and disks of ephemeral VMs whose owner
// is gone, and their records. What belongs to a live process is never touched.
func (c *Coordinator) Sweep(ctx context.Context) (Report, error) {
	begun := time.Now()
	changed, err := c.vms.Reconcile(ctx)
	var report Report
	if len(changed) > 0 {
		list, listErr := c.vms.List(ctx, vm.Filter{})
		err = errors.Join(err, listErr)
		report.Rows = rows(changed, list, listErr == nil)
	}
	for _, s := range c.sweeps {
		removed, sweepErr := s.fn(ctx)
		err = errors.Join(err, sweepErr)
		for _, name := range removed {
			report.Rows = append(report.Rows, Row{Name: name, Action: "removed " + s.what})
		}
	}
	report.Duration = time.Since(begun)
	return report, err
}

// rows says what became of each VM. One that is not in list any more, if that is known,
// was removed.
func rows(changed, list []vm.Instance, known bool) []Row {
	left := make(map[string]bool, len(list))
	for _, inst := range list {
		left[inst.ID] = true
	}
	var out []Row
	for _, inst := range changed {
		row := Row{ID: inst.ID, Name: inst.Name, Action: string(inst.State) + ": " + inst.Reason}
		if known && !left[inst.ID] {
			row.Action = "removed"
		}
		out = append(out, row)
	}
	return out
}
