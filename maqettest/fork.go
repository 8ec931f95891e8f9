package maqettest

import (
	"context"
	"testing"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Fork returns a copy of the template's guest that goes on where that was captured, once its
// agent has answered. It has its own memory, disks, name, addresses and random numbers; what
// forks share besides says docs/forking.md. It is ended, and removed, with the test.
//
// The first Fork boots the template, and all that come meanwhile wait for it. If that fails each
// of them does, at once, with the same error; where QEMU or a kernel is missing they are skipped,
// as by [Boot]. Like that it waits before, while there is no memory for the copy, and any
// failure is fatal: it must be called from the goroutine that runs the test.
func (t *Template) Fork(tb testing.TB, opts ...snapshot.ForkOption) *Guest {
	tb.Helper()
	m := t.ready(tb)
	g := &Guest{Maqet: m.home.maqet, tb: tb, life: &life{home: m.home}}
	tb.Cleanup(g.closeFork)
	var err error
	if g.share, err = program.admit(tb, "a fork of "+m.captured.Name, forkMemory(m.captured)); err != nil {
		tb.Fatalf("maqettest: fork of %s: %v", m.captured.Name, err)
	}
	begun := time.Now()
	g.Machine, err = g.Maqet.Fork(tb.Context(), m.captured.Name, opts...)
	if err != nil {
		tb.Fatalf("maqettest: %v", err)
	}
	g.transcript, err = m.home.listen(tb.Context(), g.ID())
	g.check(err)
	tb.Logf("maqettest: %s, a fork of %s, is ready after %v", g.Name(), m.captured.Name, time.Since(begun).Round(time.Millisecond))
	return g
}

// forkMemory estimates how much memory a fork uses of its own: of 256 MiB about 30 are changed
// by a guest that does little. One that does not share its template's memory has all of it.
func forkMemory(t snapshot.Template) vm.Size {
	if !t.Shared {
		return t.Memory
	}
	return min(t.Memory, max(t.Memory/4, 64*vm.MiB))
}

// removeTime bounds the removal of a fork, whose guest is killed.
const removeTime = time.Minute

// closeFork clears the fork away; of a test that failed it first reports what is known of it.
// The template stays.
func (g *Guest) closeFork() {
	g.tb.Helper()
	defer g.share.release()
	g.closeTranscript()
	if g.Machine == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeTime) // the test's own has ended
	defer cancel()
	inst, err := g.Instance(ctx)
	if err == nil && g.tb.Failed() {
		g.report(inst)
	}
	if err == nil {
		err = errors.Join(g.transcript.remove(), g.Remove(ctx, vm.ForceRemove(), vm.DeleteImages()))
	}
	if err != nil && !errors.Is(err, errors.ErrVMNotFound) { // the test may have removed it
		g.tb.Errorf("maqettest: clearing away: %v", err)
	}
}
