package maqettest

import (
	"cmp"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// Guest is a guest that belongs to a test.
//
// Its own methods take no context, because they end with the test, and return no error: what
// goes wrong fails the test at once. So they must be called from the goroutine that runs the
// test, as testing.T.FailNow must. Those that it has from Machine take a context, return an
// error, and may be called from any goroutine. Where both have a name, such as Start, the
// Machine's is g.Machine.Start.
type Guest struct {
	*maqet.Machine
	// Maqet is what the guest belongs to, for everything that Machine has no call for: of Boot
	// one of its own, of a fork that of its template, which other tests use, too.
	Maqet *maqet.Maqet

	tb       testing.TB
	patience time.Duration // 0: the default of each call
	*life
}

// life is what all copies of a Guest have in common.
type life struct {
	home       *home
	share      *share // of the memory that there is for guests
	transcript *transcript

	mu      sync.Mutex
	console guest.Console
	opened  bool // console is
}

// For returns the same guest for another test: what goes wrong fails that one, and what is
// started ends with it. It is for the subtests of the test that the guest belongs to:
// testing.T.FailNow of a parent must not be called from them.
func (g *Guest) For(tb testing.TB) *Guest {
	other := *g
	other.tb = tb
	return &other
}

// Within returns the same guest with another limit for each call. Default: 30 s, and under TCG
// two minutes, for those that wait for something, Config.Timeouts.Ready for [Guest.Reboot], and
// none for the others, which end with the test.
func (g *Guest) Within(limit time.Duration) *Guest {
	other := *g
	other.patience = limit
	return &other
}

const (
	// defaultPatience is how long to wait for what a guest does: many times what an idle host
	// takes, because tests run beside each other.
	defaultPatience = 30 * time.Second
	// scaleTCG is how much slower guests are without hardware to help; as vm.Timeouts says.
	scaleTCG = 4
	// readyLimit is what an empty vm.Timeouts.Ready means.
	readyLimit = 60 * time.Second
)

// bounded returns the context of a call that ends with the test, or within Within.
func (g *Guest) bounded() (context.Context, context.CancelFunc) {
	if g.patience == 0 {
		return context.WithCancel(g.tb.Context())
	}
	return context.WithTimeout(g.tb.Context(), g.patience)
}

// waiting is bounded for a call that waits for something; byDefault is its limit without Within.
func (g *Guest) waiting(byDefault time.Duration) (context.Context, context.CancelFunc, time.Duration) {
	limit := cmp.Or(g.patience, byDefault)
	ctx, cancel := context.WithTimeout(g.tb.Context(), limit)
	return ctx, cancel, limit
}

// usual is how long most calls wait.
func (g *Guest) usual() time.Duration { return defaultPatience * g.slowness() }

func (g *Guest) slowness() time.Duration {
	inst, err := g.Instance(g.tb.Context())
	if err == nil && inst.Runtime.Accel == "kvm" {
		return 1
	}
	return scaleTCG
}

// check fails the test if there is an error. Those of maqet say what was tried.
func (g *Guest) check(err error) {
	g.tb.Helper()
	if err != nil {
		g.tb.Fatalf("maqettest: guest %s: %v", g.Name(), err)
	}
}

func (g *Guest) closeTranscript() {
	g.tb.Helper()
	if err := g.transcript.close(); err != nil {
		g.tb.Errorf("maqettest: %v", err)
	}
}

// report shows what is known of a guest.
func (g *Guest) report(inst vm.Instance) {
	g.tb.Helper()
	var t *transcript
	if inst.ID == g.ID() {
		t = g.transcript
	}
	gather(g.Maqet, inst, t).show(g.tb)
}

// memoryOf is how much memory a guest of a configuration can use.
func memoryOf(cfg vm.Config) vm.Size { return cmp.Or(cfg.Memory, vm.DefaultMemory) }
