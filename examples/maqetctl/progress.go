package main

import (
	"context"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// progress draws bars on stderr while something takes long. It draws nothing where
// stderr is no terminal, or with --json.
type progress struct{ bars *mpb.Progress }

func (a *app) progress(ctx context.Context) *progress {
	if !isTerminal(a.err) || a.json {
		return &progress{}
	}
	return &progress{mpb.NewWithContext(ctx, mpb.WithOutput(a.err), mpb.WithWidth(30))}
}

// wait ends the drawing; every bar must have been ended.
func (p *progress) wait() {
	if p.bars != nil {
		p.bars.Wait()
	}
}

// starting returns a bar for a VM's start: what to hand to vm.OnStep, and what to call
// at the end.
func (p *progress) starting(name string) (step func(vm.Step), end func(error)) {
	if p.bars == nil {
		return func(vm.Step) {}, func(error) {}
	}
	steps := []string{vm.StepValidate, vm.StepLock, vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepContinue, vm.StepReady}
	var now atomic.Value
	now.Store("")
	bar := p.bars.AddBar(int64(len(steps)),
		mpb.PrependDecorators(decor.Name(name+" ", decor.WCSyncSpaceR), decor.Any(func(decor.Statistics) string { return now.Load().(string) }, decor.WC{W: 10, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Elapsed(decor.ET_STYLE_GO)))
	return func(s vm.Step) {
			now.Store(s.Name)
			if s.Duration != 0 {
				bar.Increment()
			}
		}, func(err error) {
			if err != nil {
				bar.Abort(false)
				return
			}
			bar.SetTotal(-1, true)
		}
}

// copying returns a bar for bytes that are copied: what to call with the number of them,
// and what to call at the end. total is 0 when it is not known.
func (p *progress) copying(name string, total int64) (more func(int), end func(error)) {
	if p.bars == nil {
		return func(int) {}, func(error) {}
	}
	amount := decor.Counters(decor.SizeB1024(0), "% .1f / % .1f")
	if total == 0 {
		amount = decor.Current(decor.SizeB1024(0), "% .1f")
	}
	bar := p.bars.AddBar(total,
		mpb.PrependDecorators(decor.Name(name+" "), amount),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	return func(n int) { bar.IncrBy(n) }, func(err error) {
		if err != nil {
			bar.Abort(false)
			return
		}
		bar.SetTotal(-1, true)
	}
}

// working returns a bar for an operation on a snapshot or a backup: what to hand to
// snapshot.OnProgress, and what to call at the end.
func (p *progress) working(name string) (tell func(snapshot.Progress), end func(error)) {
	if p.bars == nil {
		return func(snapshot.Progress) {}, func(error) {}
	}
	var now atomic.Value
	now.Store("")
	bar := p.bars.AddBar(1,
		mpb.PrependDecorators(decor.Name(name+" ", decor.WCSyncSpaceR), decor.Any(func(decor.Statistics) string { return now.Load().(string) }, decor.WC{W: 10, C: decor.DindentRight})),
		mpb.AppendDecorators(decor.Percentage(), decor.Elapsed(decor.ET_STYLE_GO, decor.WCSyncSpace)))
	return func(t snapshot.Progress) {
			now.Store(t.Step)
			if t.Total > 0 {
				bar.SetTotal(t.Total+1, false) // the last one is for the end
				bar.SetCurrent(t.Done)
			}
		}, func(err error) {
			if err != nil {
				bar.Abort(false)
				return
			}
			bar.SetTotal(-1, true)
		}
}
