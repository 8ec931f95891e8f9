package snapshots_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
)

// TestFaults interrupts every operation at every point: before each of its steps, at each
// progress that it tells, and in each qemu-img before each change that it makes. Afterwards
// the snapshot is whole or absent, the disks are of one moment, QEMU finds nothing wrong with
// the images, the list tells the truth, the VM starts and snapshots work.
func TestFaults(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := operations[name]
			tp := newTemplate(t, op.from)
			faults := op.faults(t, tp, name)
			t.Logf("%d faults", len(faults))
			for i, f := range faults {
				t.Run(f.String(), func(t *testing.T) {
					tp.reset(t)
					defer tp.abandon(t)
					op.check(t, f, i)
				})
			}
		})
	}
}

// String names the fault among those of its operation.
func (f fault) String() string {
	switch f.Kind {
	case killImg, killSelfInImg:
		return fmt.Sprintf("%s %d at change %d", f.Kind, f.Img.Run, f.Img.Write)
	}
	return fmt.Sprintf("%s at %s %d", f.Kind, f.Step, f.Nth)
}

// faults finds out which points there are, by doing the operation once without a fault.
func (op operation) faults(t *testing.T, tp *template, name string) (faults []fault) {
	t.Helper()
	tp.reset(t)
	rep, runs, lived := fault{Op: name, Dir: tp.dir}.run(t)
	require.True(t, lived)
	require.Empty(t, rep.Err)
	p := openVictim(t, tp.dir)
	p.requireOneOf(op, 0, op.after)
	p.close()
	seen := map[string]int{}
	for _, step := range rep.Steps {
		seen[step]++
		f := fault{Op: name, Dir: tp.dir, Kind: killSelf, Step: step, Nth: seen[step]}
		faults = append(faults, f)
		if op.live {
			f.Kind = killQEMU
			faults = append(faults, f)
		}
	}
	t.Logf("steps: %q", rep.Steps)
	for i, run := range runs {
		t.Logf("qemu-img %d: %v, %d changes", i+1, run, run.Writes)
		for write := range run.Writes + 1 {
			for k, kind := range []string{killImg, killSelfInImg} {
				if long() || (write+i+3*k)%thinning == 0 {
					faults = append(faults, fault{Op: name, Dir: tp.dir, Kind: kind, Img: imgFault{i + 1, write}})
				}
			}
		}
	}
	return faults
}

// thinning is how many changes of one qemu-img lie between two faults, unless MAQET_LONG is 1.
const thinning = 17

// check does the operation with a fault, and looks at what is left.
func (op operation) check(t *testing.T, f fault, nth int) {
	t.Helper()
	rep, _, lived := f.run(t)
	possible := []state{before, op.after}
	switch {
	case !lived:
		require.Contains(t, []string{killSelf, killSelfInImg}, f.Kind, "it was not told to die")
	case rep.Err == "":
		possible = []state{op.after}
	default:
		t.Logf("it said: %s", rep.Err)
		if !slices.Contains(rep.Kinds, "storage") { // what it needs to know beforehand
			require.Contains(t, rep.Kinds, op.kind, "%s", rep.Err)
		}
		if op.kind == "creation" {
			possible = []state{before}
		}
	}
	p := openVictim(t, f.Dir)
	defer p.close()
	p.requireOneOf(op, nth, possible...)
}

// requireOneOf checks that what there is now is one of these states, and that it is in order.
func (p *patient) requireOneOf(op operation, nth int, possible ...state) {
	p.t.Helper()
	_, err := p.m.VM.Reconcile(p.ctx())
	require.NoError(p.t, err)
	_, err = p.m.Snapshot.List(p.ctx(), victim)
	require.NoError(p.t, err)
	p.mend(nth)
	p.requireTruth()
	found := state{p.present(), map[string]int{}}
	names := slices.Collect(maps.Keys(p.list()))
	slices.Sort(names)
	for _, s := range possible {
		if s.present == found.present && slices.Equal(names, slices.Sorted(maps.Keys(s.snapshots))) {
			found = s
			break
		}
	}
	require.Len(p.t, found.snapshots, len(names), "generation %d and snapshots %q are none of %v", found.present, names, possible)

	p.settle(false)
	p.requireClean()
	all := long() || nth%cycles == 0
	p.settle(op.live && all)
	p.requireWhole(found)
	if !all {
		return
	}
	p.cycle(op)
	p.settle(false)
	p.requireTruth()
	p.requireSound()
}

// cycles is how many faults share one after which snapshots are loaded live, where the operation
// was, and another one is made, loaded and deleted; unless MAQET_LONG is 1.
const cycles = 5

// mend lets the next start, or the next operation, mend what was left.
func (p *patient) mend(nth int) {
	p.t.Helper()
	if !p.live() && nth%2 == 0 {
		p.start()
		return
	}
	require.ErrorIs(p.t, p.m.Snapshot.Delete(p.ctx(), victim, "none"), errors.ErrSnapshotNotFound)
}

// settle has the VM live, or not.
func (p *patient) settle(live bool) {
	p.t.Helper()
	switch {
	case live && !p.live():
		p.start()
	case !live && p.live():
		p.stop()
	}
}

// requireWhole loads each snapshot, the last one first.
func (p *patient) requireWhole(s state) {
	p.t.Helper()
	listed := p.list()
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(s.snapshots))) {
		require.NoError(p.t, p.m.Snapshot.Load(p.ctx(), victim, name), name)
		require.Equal(p.t, s.snapshots[name], p.present(), name)
		if listed[name].Memory {
			if !p.live() {
				p.start() // continues from it
				defer p.stop()
			}
			require.Equal(p.t, s.snapshots[name], p.memory(), name)
		}
		if listed[name].Kind == snapshot.External { // what is below can't be loaded before
			require.NoError(p.t, p.m.Snapshot.Drop(p.ctx(), victim, name))
			require.Equal(p.t, s.snapshots[name], p.present(), name)
		}
	}
}

// cycle makes, loads and deletes a snapshot of the name that the operation was about.
func (p *patient) cycle(op operation) {
	p.t.Helper()
	if s, ok := p.list()[op.about]; ok {
		require.NoError(p.t, p.m.Snapshot.Delete(p.ctx(), victim, s.Name))
	}
	p.write(8)
	var opts []snapshot.Option
	if p.live() && op.from == withExternal {
		opts = []snapshot.Option{snapshot.DiskOnly()}
	}
	_, err := p.m.Snapshot.Create(p.ctx(), victim, op.about, opts...)
	require.NoError(p.t, err)
	p.write(9)
	require.NoError(p.t, p.m.Snapshot.Load(p.ctx(), victim, op.about))
	require.Equal(p.t, 8, p.present())
	require.NoError(p.t, p.m.Snapshot.Delete(p.ctx(), victim, op.about))
	require.NotContains(p.t, p.list(), op.about)
	require.Equal(p.t, 8, p.present())
}
