package maqettest

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Boot starts a guest and returns when it is ready. It waits before, with a line in the log,
// while guests of other tests use all the memory that there is for guests; see the package's
// comment. The guest is ended with the test.
//
// Where QEMU or a kernel is missing the test is skipped, or failed if MAQET_REQUIRE is 1. Any
// other failure is fatal. So Boot must be called from the goroutine that runs the test.
func Boot(tb testing.TB, opts ...Option) *Guest {
	tb.Helper()
	o := newOptions(opts)
	h, err := newHome(o.maqet)
	if err != nil {
		giveUp(tb, err)
	}
	g := &Guest{Maqet: h.maqet, tb: tb, life: &life{home: h}}
	tb.Cleanup(g.close)

	inst, err := h.maqet.VM.Add(tb.Context(), o.config)
	if err == nil {
		g.Machine, err = h.maqet.Machine(tb.Context(), inst.ID)
	}
	if err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	g.share, err = program.admit(tb, g.Name(), memoryOf(o.config))
	g.check(err)
	begun := time.Now()
	if err := boot(tb.Context(), h, g.Machine, o); err != nil {
		giveUp(tb, err)
	}
	g.transcript, err = h.listen(tb.Context(), inst.ID)
	g.check(err)
	for _, fn := range o.setup {
		g.check(fn(tb.Context(), g.Machine))
	}
	tb.Logf("maqettest: %s is ready after %v", g.Name(), time.Since(begun).Round(time.Millisecond))
	return g
}

// boot starts a guest and waits until it is ready.
func boot(ctx context.Context, h *home, machine *maqet.Machine, o options) error {
	start := slices.Clip(o.start)
	if len(o.conds) > 0 {
		start = append(start, vm.WaitFor(h.maqet.Guest.Until(o.conds...)))
	}
	return machine.Start(ctx, start...)
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

// close clears the guest of Boot away, and all others of its Maqet; of a test that failed it
// first reports what is known of them.
func (g *Guest) close() {
	g.tb.Helper()
	defer g.share.release()
	g.closeTranscript()
	if g.tb.Failed() {
		list, err := g.Maqet.VM.List(context.Background(), vm.Filter{}) // the test's own has ended
		if err != nil {
			g.tb.Logf("maqettest: no report: %v", err)
		}
		for _, inst := range list {
			g.report(inst)
		}
	}
	if err := g.home.close(); err != nil {
		g.tb.Errorf("maqettest: clearing away: %v", err)
	}
}
