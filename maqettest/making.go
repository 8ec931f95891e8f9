package maqettest

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// making is a template that boots, or has booted.
type making struct {
	opts   options
	from   *making // what it is a fork of, which is done; nil: it boots
	share  *share
	cancel context.CancelFunc
	done   chan struct{}

	name       string
	machine    *maqet.Machine
	transcript *transcript // of what Setup did

	// Once done is closed:
	home     *home // that of from, if there is one
	captured snapshot.Template
	took     time.Duration
	err      error
	failure  *evidence // if err is not nil, and there was a guest
}

// newMaking begins to make a template, in the background: close of the suite ends it and waits
// for it.
func newMaking(opts options, from *making, b *budget) *making {
	m := &making{opts: opts, from: from, done: make(chan struct{})}
	m.name = cmp.Or(opts.config.Name, "base")
	size := memoryOf(opts.config)
	if from != nil {
		m.name = from.name + "-" + strconv.Itoa(int(from.home.children.Add(1)))
		size = from.captured.Memory
	}
	m.share = b.askTemplate(size)
	// Not a test's context: it is made for all tests that will ask.
	ctx, cancel := context.WithCancel(context.Background()) // of no test: it is made for all; stop ends it
	m.cancel = cancel
	go m.run(ctx)
	return m
}

// errSetupEnded is what a Setup leaves that ends its goroutine.
var errSetupEnded = errors.New("Setup has not returned: it must return an error instead of calling testing.T.FailNow or the like")

func (m *making) run(ctx context.Context) {
	defer close(m.done)
	begun := time.Now()
	m.err = errSetupEnded
	defer func() {
		if m.err != nil {
			m.undo()
		}
		m.took = time.Since(begun)
	}()
	err := m.share.wait(ctx, func(string, ...any) {}, "")
	if err == nil {
		err = m.make(ctx)
	}
	m.err = err
}

func (m *making) make(ctx context.Context) error {
	err := m.start(ctx)
	if err == nil {
		m.transcript, err = m.home.listen(ctx, m.machine.ID())
	}
	if err != nil {
		return fmt.Errorf("template %s: %w", m.name, err)
	}
	for _, fn := range m.opts.setup {
		if err := fn(ctx, m.machine); err != nil {
			return fmt.Errorf("template %s: Setup: %w", m.name, err)
		}
	}
	m.captured, err = m.machine.Capture(ctx, m.name, snapshot.KeepTemplate(vm.Ephemeral))
	if err != nil {
		return fmt.Errorf("template %s: %w", m.name, err)
	}
	m.share.settle()
	return m.remove()
}

// start has the guest run.
func (m *making) start(ctx context.Context) (err error) {
	if m.from != nil {
		m.home = m.from.home
		opts := []snapshot.ForkOption{snapshot.ForkName(m.name), snapshot.ForkForCapture()}
		if m.from.captured.Config.Agent.Disabled {
			opts = append(opts, snapshot.Alike()) // nobody in it could change who it is
		}
		m.machine, err = m.home.maqet.Fork(ctx, m.from.captured.Name, opts...)
		return err
	}
	if m.home, err = newHome(m.opts.maqet); err != nil {
		return err
	}
	cfg := m.opts.config.Clone()
	cfg.Name, cfg.Template, cfg.Lifetime = m.name, true, vm.Ephemeral
	inst, err := m.home.maqet.VM.Add(ctx, cfg)
	if err != nil {
		return err
	}
	if m.machine, err = m.home.maqet.Machine(ctx, inst.ID); err != nil {
		return err
	}
	return boot(ctx, m.home, m.machine, m.opts)
}

// remove forgets the VM that was captured, or that has failed.
func (m *making) remove() error {
	// Not cancelled: nothing is left even if nobody waits for it any more.
	return errors.Join(m.transcript.remove(), m.machine.Remove(context.Background(), vm.ForceRemove(), vm.DeleteImages()))
}

// undo clears away what has failed, once it has been looked at.
func (m *making) undo() {
	if m.home == nil {
		m.share.release()
		return
	}
	defer m.share.release()
	if m.machine != nil {
		if inst, err := m.machine.Instance(context.Background()); err == nil { // m's own may have ended
			m.failure = gather(m.home.maqet, inst, m.transcript)
		}
	}
	switch {
	case m.from == nil:
		m.err = errors.Join(m.err, m.home.close())
	case m.machine != nil:
		m.err = errors.Join(m.err, m.remove())
	}
}
