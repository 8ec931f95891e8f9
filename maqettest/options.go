package maqettest

import (
	"context"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// Option changes what [Boot], [NewTemplate] and [InGuest] boot.
type Option func(*options)

type options struct {
	config vm.Config
	start  []vm.StartOption
	conds  []guest.Condition
	setup  []SetupFunc
	maqet  []maqet.Option
	inside insideOptions // of InGuest
}

func newOptions(opts []Option) (o options) {
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Config boots this configuration instead of the zero one, which is the default guest. An
// option before it that changes the configuration, such as Memory, has no effect. A persistent
// guest ends with its test like others, but goes on when the test program is killed; of
// templates and forks none is persistent.
func Config(cfg vm.Config) Option { return func(o *options) { o.config = cfg } }

// Memory sets the guest's memory. Default: vm.DefaultMemory.
func Memory(size vm.Size) Option { return func(o *options) { o.config.Memory = size } }

// WaitFor goes on when these conditions hold, instead of when the agent answers. Of a
// template that is before its Setup.
func WaitFor(conds ...guest.Condition) Option {
	return func(o *options) { o.conds = append(o.conds, conds...) }
}

// SetupFunc prepares a guest for the tests: it installs, starts services, loads fixtures. ctx
// ends with [Close]. What it leaves running in the guest goes on in the guest, but what it
// leaves open to it, such as a connection or a command that it does not wait for, ends.
type SetupFunc func(ctx context.Context, g *maqet.Machine) error

// Setup runs fn in the guest once that is ready. It can be given several times; they run one
// after the other. Of a template that is once, before it is captured; an error fails each of
// its forks. It must not call what ends a test, such as testing.T.FailNow.
func Setup(fn SetupFunc) Option {
	return func(o *options) { o.setup = append(o.setup, fn) }
}

// StartOptions are passed on to vm.Manager.Start.
func StartOptions(opts ...vm.StartOption) Option {
	return func(o *options) { o.start = append(o.start, opts...) }
}

// MaqetOptions are passed on to maqet.New, after those that give the guest a folder
// and a store of its own.
func MaqetOptions(opts ...maqet.Option) Option {
	return func(o *options) { o.maqet = append(o.maqet, opts...) }
}
