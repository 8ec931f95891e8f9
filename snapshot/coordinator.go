package snapshot

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// VMs is what a Coordinator needs of vm.Manager.
type VMs interface {
	Get(ctx context.Context, ref string) (vm.Instance, error)
	Images(inst vm.Instance) []vm.Image
	ImagesDir(id string) string
	Reserve(ctx context.Context, ref string) (*vm.Reservation, error)
	Live(ctx context.Context, ref string) (vm.Guest, error)
	Start(ctx context.Context, ref string, opts ...vm.StartOption) (vm.Instance, error)
	Stop(ctx context.Context, ref string, opts ...vm.StopOption) (vm.StopReport, error)
	Wait(ctx context.Context, ref string, states ...vm.State) (vm.Instance, error)
	List(ctx context.Context, f vm.Filter) ([]vm.Instance, error)
	AddFork(ctx context.Context, cfg vm.Config, fork vm.Fork, plugged []qmp.Device, unplugged []string) (vm.Instance, error)
	Remove(ctx context.Context, ref string, opts ...vm.RemoveOption) error
	Snapshotter(inst vm.Instance) (vm.Snapshotter, error)
}

// Freezer freezes the file systems of a guest. guest.Manager implements it.
type Freezer interface {
	// Freeze asks the guest's agent to flush and freeze its file systems, and returns how many
	// are frozen. errors.ErrAgentUnavailable when there is no agent, or one that can't.
	Freeze(ctx context.Context, ref string) (int, error)
	// Thaw undoes it.
	Thaw(ctx context.Context, ref string) error
}

// Files reads files of guests. guest.Manager implements it.
type Files interface {
	// ReadFile returns the content of a file in the guest called ref.
	ReadFile(ctx context.Context, ref, path string) ([]byte, error)
}

// Sessions are the host's connections into guests. guest.Manager implements it.
type Sessions interface {
	// Renew drops the connections to the agent and the init of a VM's guest. A guest that was
	// brought back to an earlier moment knows nothing of them, while it can believe in
	// others that have ended since. It is called before the job of that id is started, and
	// after it, before the guest runs.
	Renew(ctx context.Context, ref, job string) error
}

// Options are what a [Coordinator] is made of.
type Options struct {
	Keeper  *Keeper // required
	VMs     VMs     // required
	Freezer Freezer // nil: guests are never frozen
	Files   Files   // nil: which shares a guest has mounted is never known
	// Sessions are renewed when a guest's memory is loaded. Nil: there are none in this process.
	Sessions Sessions
	// Templates are where templates are kept, and must be the vm.Manager's. Nil: none can be made.
	Templates *Templates
	Logger    *slog.Logger
}

// Coordinator makes, loads, lists and deletes snapshots of VMs, live or not. It is safe for
// concurrent use, also together with Coordinators of other processes.
type Coordinator struct {
	keeper    *Keeper
	vms       VMs
	freezer   Freezer
	files     Files      // may be nil
	guests    Sessions   // may be nil
	templates *Templates // may be nil
	log       *slog.Logger
}

// New puts a Coordinator together.
func New(o Options) (*Coordinator, error) {
	if o.Keeper == nil || o.VMs == nil {
		return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "create snapshot coordinator", Msg: "a keeper and VMs are required"}
	}
	c := &Coordinator{keeper: o.Keeper, vms: o.VMs, freezer: o.Freezer, files: o.Files, guests: o.Sessions, templates: o.Templates, log: o.Logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// operation is one call that works on a reserved VM.
type operation struct {
	*Coordinator
	options
	call    calls
	what    string // for errors: "create snapshot NAME"
	r       *vm.Reservation
	inst    vm.Instance // when it began
	records []Record
	backend vm.Snapshotter // of a VM whose snapshots its backend keeps; nil: of another
	release func()
}

// begin reserves the VM. What it returns must be given to work. Its context also ends with the
// VM manager.
func (c *Coordinator) begin(ctx context.Context, call calls, what, ref string, opts []Option) (context.Context, *operation, error) {
	o, err := collect(call, what, opts)
	if err != nil {
		return nil, nil, err
	}
	r, err := c.vms.Reserve(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	op := &operation{Coordinator: c, options: o, call: call, what: what, r: r, release: r.Release, inst: r.Instance()}
	if op.backend, err = c.vms.Snapshotter(op.inst); err == nil {
		err = op.offered()
	}
	if err != nil {
		r.Release()
		return nil, nil, err
	}
	return r.Context(), op, nil
}

// prepare mends what an operation that died has left, checks that the options suit the VM, and
// reads the records.
func (op *operation) prepare(ctx context.Context) (err error) {
	if err := op.mend(ctx); err != nil {
		return err
	}
	op.inst = op.r.Instance()
	if err := op.suits(); err != nil {
		return err
	}
	op.records, err = op.keeper.records.Snapshots(ctx, op.inst.ID)
	return err
}

// mend finishes or undoes operations that died, whether the VM is live or not.
func (op *operation) mend(ctx context.Context) error {
	if op.backend != nil {
		return op.mendByBackend(ctx)
	}
	if op.r.Instance().State.Live() {
		asked := op.options
		op.options = options{progress: asked.progress} // what is asked for is not asked of what is mended
		defer func() { op.options = asked }()
		err := errors.Join(op.endBackups(ctx), op.recoverLive(ctx))
		if !isGone(err) {
			return err
		}
		if fenced, goneErr := op.ended(ctx); goneErr != nil || !fenced {
			return errors.Join(err, goneErr)
		}
	}
	return op.keeper.Recover(ctx, op.r)
}

// live reports whether the VM was live when the operation began. It can have ended since.
func (op *operation) live() bool { return op.inst.State.Live() }

// record returns what is recorded of a snapshot.
func (op *operation) record(name string) (*Record, bool) {
	for i := range op.records {
		if op.records[i].Name == name {
			return &op.records[i], true
		}
	}
	return nil, false
}

// find is record for a snapshot that has to be there. Of one that somebody else made, a record
// is made.
func (op *operation) find(name string) (*Record, error) {
	if rec, ok := op.record(name); ok {
		return rec, nil
	}
	if rec, err := op.adopt(op.r.Context(), name); rec != nil || err != nil {
		return rec, err
	}
	return nil, &errors.Error{Kind: errors.ErrSnapshotNotFound, Op: op.what, VM: op.inst.Name,
		Msg: "the VM has no snapshot of that name", Hint: op.names()}
}

// namesShown is how many snapshots an error names.
const namesShown = 10

// names says which snapshots there are, the latest first.
func (op *operation) names() string {
	list, err := op.list(op.r.Context(), op.inst.ID)
	if err != nil {
		return "see Coordinator.List"
	}
	if len(list) == 0 {
		return "it has none"
	}
	var names []string
	for _, s := range list {
		names = append(names, strconv.Quote(s.Name))
	}
	slices.Reverse(names)
	if more := len(names) - namesShown; more > 0 {
		names = append(names[:namesShown], strconv.Itoa(more)+" more")
	}
	return "it has " + strings.Join(names, ", ")
}

// renew has the host's connections into the guest made anew.
func (op *operation) renew(ctx context.Context, job string) error {
	if op.guests == nil {
		return nil
	}
	return op.guests.Renew(ctx, op.inst.ID, job)
}
