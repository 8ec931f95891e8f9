package snapshot

import (
	"context"
	"log/slog"
	"runtime"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// PoolForks is what a [Pool] needs to make its forks and to end them. Together a [Coordinator]
// and the vm.Manager that it works with have it all.
type PoolForks interface {
	Template(ctx context.Context, name string) (Template, error)
	Fork(ctx context.Context, template string, opts ...ForkOption) (vm.Instance, error)
	// Live returns the guest of a VM that runs.
	Live(ctx context.Context, ref string) (vm.Guest, error)
	// Guard returns a context below ctx that also ends when the guest of a VM is of no more
	// use. The CancelFunc must be called.
	Guard(ctx context.Context, ref string) (context.Context, context.CancelFunc, error)
	Remove(ctx context.Context, ref string, opts ...vm.RemoveOption) error
}

// PoolOptions say how many forks a [Pool] keeps, and what they may cost. The zero value is of
// use.
type PoolOptions struct {
	// Size is how many forks are kept ready. Default: 2.
	Size int
	// Parallel is how many forks are made at once; each keeps about one processor busy until it
	// is ready. Default: half of the processors this process may use, at least 1.
	Parallel int
	// Memory is what all forks of the pool may use together: those that are being made, are
	// ready, or were handed out and whose guests have not ended. When it is spent no fork is
	// made, even if fewer than Size are ready, and Get waits. Default: no limit.
	Memory vm.Size
	// PerFork is what one fork is counted with. Default: [ForkMemory] of the template.
	PerFork vm.Size
	// Fork are the options of each fork. ForkName can't be among them: no two VMs have the same
	// name.
	Fork []ForkOption
	// WarmUp is run in each fork before it is ready, so that the one who gets it need not wait
	// for what a guest does more slowly for the first time: an emulator has to translate the
	// guest's code anew in each fork. Its ctx ends with the fork and with the pool; it has to
	// bound its time by itself. A fork whose WarmUp fails is removed. Default: none.
	WarmUp func(ctx context.Context, fork vm.Instance) error
	// Logger gets the failures that nobody waits for. Default: nowhere.
	Logger *slog.Logger
}

// forkOverhead is what QEMU itself uses for a fork: measured 20 to 30 MiB with an emulator that
// has translated what a small guest runs, and room for more.
const forkOverhead = 64 * vm.MiB

// ForkMemory estimates what a fork of the template takes of the host's memory: 64 MiB for QEMU,
// and a quarter of the guest's memory, since a fork shares what it does not write; all of it if
// the template's memory is not shared. A fork that writes to all of its memory takes more.
func ForkMemory(t Template) vm.Size {
	if t.Shared {
		return forkOverhead + t.Memory/4
	}
	return forkOverhead + t.Memory
}

// complete returns the options with their defaults.
func (o PoolOptions) complete(t Template) (PoolOptions, error) {
	if o.Size == 0 {
		o.Size = 2
	}
	if o.Parallel == 0 {
		o.Parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.PerFork == 0 {
		o.PerFork = ForkMemory(t)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var named forkOptions
	for _, opt := range o.Fork {
		opt(&named)
	}
	switch {
	case o.Size < 0 || o.Parallel < 0 || o.Memory < 0 || o.PerFork < 0:
		return o, poolError(t.Name, "Size, Parallel, Memory and PerFork can't be negative", "")
	case named.name != "":
		return o, poolError(t.Name, "its forks can't all be called "+named.name, "leave out ForkName")
	case o.Memory > 0 && o.Memory < o.PerFork:
		return o, poolError(t.Name, "not one fork fits: Memory is "+o.Memory.String()+", and one is counted with "+o.PerFork.String(),
			"raise PoolOptions.Memory, or lower PerFork if forks are known to use less")
	}
	return o, nil
}

func poolError(template, msg, hint string) error {
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "make pool of template " + template, Msg: msg, Hint: hint}
}

// room reports whether one more fork than there are fits.
func (o PoolOptions) room(forks int) bool {
	return o.Memory == 0 || vm.Size(forks+1)*o.PerFork <= o.Memory
}
