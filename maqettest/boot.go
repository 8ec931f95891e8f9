package maqettest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// transcriptFile is what was said over QMP, in the guest's folder.
const transcriptFile = "qmp-transcript.log"

// Option changes what [Boot] boots.
type Option func(*options)

type options struct {
	config vm.Config
	start  []vm.StartOption
	conds  []guest.Condition
	maqet  []maqet.Option
	inside insideOptions // of [InGuest]
}

// Config boots this configuration instead of the zero one, which is the default guest.
func Config(cfg vm.Config) Option { return func(o *options) { o.config = cfg } }

// Memory sets the guest's memory.
func Memory(size vm.Size) Option { return func(o *options) { o.config.Memory = size } }

// WaitFor returns from Boot when these conditions hold, instead of when the agent answers.
func WaitFor(conds ...guest.Condition) Option {
	return func(o *options) { o.conds = append(o.conds, conds...) }
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

// Guest is a guest that belongs to a test.
type Guest struct {
	*maqet.Machine
	// Maqet is the guest's own, for everything that Machine has no call for.
	Maqet *maqet.Maqet

	tb         testing.TB
	dir        string
	transcript *qmp.Transcript // of QMP since Boot, for the report of a failure
}

// Boot starts a guest and returns when it is ready; the test fails, or is skipped,
// when that is not possible. The guest is ended with the test. A failure of Boot itself
// is fatal, so Boot must be called from the test's own goroutine.
func Boot(tb testing.TB, opts ...Option) *Guest {
	tb.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	dir := newDir(tb)
	g := &Guest{tb: tb, dir: dir}
	store := memory.New()
	m, err := maqet.New(append([]maqet.Option{maqet.WithDir(dir), maqet.WithStore(store)}, o.maqet...)...)
	if err != nil {
		giveUp(tb, err)
	}
	g.Maqet = m
	tb.Cleanup(g.close)

	if len(o.conds) > 0 {
		o.start = append(o.start, vm.WaitFor(m.Guest.Until(o.conds...)))
	}
	inst, err := m.VM.Add(tb.Context(), o.config)
	if err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	if g.Machine, err = m.Machine(tb.Context(), inst.ID); err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	begun := time.Now()
	if err := g.Start(tb.Context(), o.start...); err != nil {
		giveUp(tb, err)
	}
	if g.transcript, err = m.QMP.Transcript(tb.Context(), inst.ID, filepath.Join(dir, transcriptFile)); err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	tb.Logf("maqettest: %s is ready after %v", g.Name(), time.Since(begun).Round(time.Millisecond))
	return g
}

// giveUp ends the test: it is skipped when something is not installed, unless
// MAQET_REQUIRE=1, and failed otherwise.
func giveUp(tb testing.TB, err error) {
	tb.Helper()
	missing := errors.Is(err, errors.ErrQEMUNotFound) || errors.Is(err, errors.ErrKernelNotFound)
	if missing && os.Getenv("MAQET_REQUIRE") != "1" {
		tb.Skipf("maqettest: %v", err)
	}
	tb.Fatalf("maqettest: %v", err)
}

// close clears the guest away; of a test that failed it first reports what is known.
func (g *Guest) close() {
	g.tb.Helper()
	if g.transcript != nil {
		if err := g.transcript.Close(); err != nil {
			g.tb.Errorf("maqettest: %v", err)
		}
	}
	if g.tb.Failed() {
		r := &report{tb: g.tb, m: g.Maqet}
		if g.transcript != nil {
			r.guest, r.transcript = g.ID(), filepath.Join(g.dir, transcriptFile)
		}
		r.write()
	}
	if err := g.Maqet.Close(); err != nil {
		g.tb.Errorf("maqettest: clearing away: %v", err)
	}
}

// Run runs a program in the guest and returns what it printed. The test fails at once
// when the program can't be run or its exit code is not zero.
func (g *Guest) Run(args ...string) guest.Result {
	g.tb.Helper()
	res, err := g.Exec(g.tb.Context(), args...)
	if err != nil {
		g.tb.Fatalf("maqettest: %v", err)
	}
	return res
}
