package vm

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
)

// destroyer stops and removes VMs.
type destroyer struct{ m *Manager }

// Time for the rungs of the ladder that end QEMU around its guest; they need only
// the host to answer.
const (
	quitTime = 5 * time.Second
	termTime = 2 * time.Second
	killTime = 10 * time.Second
	// deafTime is what a guest that never was up gets to react to its power button.
	deafTime = 2 * time.Second
)

func (d *destroyer) stop(ctx context.Context, ref string, opts []StopOption) (StopReport, error) {
	var o stopOptions
	for _, opt := range opts {
		opt(&o)
	}
	begun := time.Now()
	inst, err := d.m.store.Get(ctx, ref)
	if err != nil {
		return StopReport{}, err
	}
	d.m.live.cancelStart(inst)
	lock, err := d.m.locks.wait(ctx, inst.ID)
	if err != nil {
		return StopReport{}, errors.Wrap(errors.ErrVMStop, "stop VM", inst.Name, err)
	}
	report, err := d.stopLocked(ctx, inst, o)
	d.m.locks.leave(lock, errors.Is(err, errors.ErrVMNotFound))
	report.ID, report.Name, report.Duration = inst.ID, inst.Name, time.Since(begun)
	if err == nil {
		d.m.log.InfoContext(ctx, "VM stopped", "vm", inst.Name, "by", report.Step, "took", report.Duration)
	}
	return report, err
}

// stopLocked stops a VM whose lock is held.
func (d *destroyer) stopLocked(ctx context.Context, inst Instance, o stopOptions) (StopReport, error) {
	none := StopReport{Step: "none"}
	inst, err := d.m.store.Get(ctx, inst.ID)
	if err != nil || !inst.held() {
		return none, err
	}
	if inst.unreachable() {
		if inst, err = d.regain(ctx, inst, o.keepImages); err != nil || !inst.State.Live() {
			return none, err
		}
	}
	lg, err := d.hold(ctx, inst)
	if err != nil {
		return none, err
	}
	if lg == nil { // nothing of it runs
		to, reason := d.m.obituary(inst)
		_, err := d.finalise(ctx, inst, ending{to: to, reason: reason, keepImages: o.keepImages})
		return none, err
	}
	err = d.m.states.retry(ctx, inst.ID, func(now Instance) error {
		if now.State == Stopping {
			inst = now
			return nil
		}
		inst, err = d.m.states.move(ctx, now, Stopping, ReasonStopRequested, nil)
		return err
	})
	if err != nil {
		return none, err
	}
	l := ladder{guest: lg.guest, limits: lg.limits, force: o.force, timeout: o.timeout, up: lg.up.Load()}
	report, err := l.descend(ctx)
	if err != nil {
		return report, errors.Wrap(errors.ErrVMStop, "stop VM", inst.Name, err)
	}
	to, reason := Stopped, ReasonStopped+": "+report.Step
	switch {
	case report.Step == "exited":
		to, reason = lg.epitaph()
	case o.failed != "":
		to, reason = Failed, o.failed
	case o.because != "":
		reason = o.because
	}
	_, err = d.finalise(ctx, inst, ending{to, reason, lg.guest.Exit(), o.keepImages})
	if err == nil {
		lg.recorded()
	}
	return report, err
}

// hold returns the guest to stop, nil when nothing of it runs.
func (d *destroyer) hold(ctx context.Context, inst Instance) (*liveGuest, error) {
	if lg := d.m.live.entry(inst.ID); lg != nil {
		return lg, nil
	}
	lg, err := d.m.live.connect(ctx, inst)
	if errors.Is(err, errors.ErrVMNotRunning) {
		return nil, nil
	}
	return lg, err
}

// regain brings the record of a VM that was out of reach up to date; it fails while that still
// is. The VM's lock must be held. keepImages is of the end that is found.
func (d *destroyer) regain(ctx context.Context, inst Instance, keepImages bool) (Instance, error) {
	lg, err := d.hold(ctx, inst)
	switch {
	case err != nil:
		return inst, errors.Join(errUnreachable("reach VM", inst), err)
	case lg == nil:
		to, reason := d.m.obituary(inst)
		return d.finalise(ctx, inst, ending{to: to, reason: reason, keepImages: keepImages})
	case gone(lg.guest): // and about to be recorded by its watcher
		to, reason := lg.epitaph()
		return d.finalise(ctx, inst, ending{to, reason, lg.guest.Exit(), keepImages})
	}
	return d.m.adopt(ctx, lg)
}

// ending is how a guest ended.
type ending struct {
	to         State
	reason     string
	exit       errors.ExitStatus
	keepImages bool // ephemeral ones, too
}

// unclean reports whether QEMU may not have closed its images: a signal ended it (but to SIGTERM
// it ends in order, with status 0), it gave up, or it is gone and nobody knows how.
func (e ending) unclean() bool {
	if e.exit.Known {
		return e.exit.Signal != "" || e.exit.Code != 0
	}
	return e.to == Failed
}

// finalise clears away what a guest that is gone left and records its end. The lock
// must be held. It goes on when ctx is cancelled: half of it would be a lie.
func (d *destroyer) finalise(ctx context.Context, inst Instance, end ending) (Instance, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := d.clear(ctx, inst, end.keepImages); err != nil {
		d.m.log.WarnContext(ctx, "VM's leftovers not cleared", "vm", inst.Name, "error", err)
	}
	err := d.m.states.retry(ctx, inst.ID, func(now Instance) error {
		if !now.held() {
			inst = now
			return nil
		}
		got, err := d.m.states.move(ctx, now, end.to, end.reason, func(i *Instance) {
			if end.exit.Known {
				i.Runtime.Exit = &end.exit
			}
			i.Unclean = i.Unclean || end.unclean()
			if i.ImagesKept = end.keepImages; !end.keepImages {
				i.Layers = i.lastingLayers()
			}
		})
		inst = got
		return err
	})
	return inst, err
}

// clear clears away what the guest of a live VM left.
func (d *destroyer) clear(ctx context.Context, inst Instance, keepImages bool) error {
	backend, err := d.m.backend(inst)
	if err != nil {
		return err
	}
	images := d.m.imagesOf(backend)
	err = errors.Join(backend.Clean(ctx, inst), images.unseed(ctx, inst), d.m.state.release(inst))
	if keepImages {
		return err
	}
	return errors.Join(err, images.releaseAll(ctx, inst))
}

// kill ends a guest whose start failed, at once, and clears away what it left.
func (d *destroyer) kill(ctx context.Context, backend Backend, lg *liveGuest) error {
	struck := strike(ctx, lg.guest)
	if errors.Is(struck, errors.ErrHostUnreachable) && !gone(lg.guest) {
		return errors.Wrap(errors.ErrVMStop, "kill VM", lg.name, struck) // it has not been told
	}
	select {
	case <-lg.guest.Done():
	case <-ctx.Done():
		return errors.Wrap(errors.ErrVMStop, "kill VM", lg.name, errors.Join(ctx.Err(), struck))
	}
	return backend.Clean(ctx, Instance{ID: lg.id, Name: lg.name, Runtime: lg.guest.Runtime()})
}

// strike takes the last rung of the ladder. As a rule an error means that the guest is gone
// already; Done tells.
func strike(ctx context.Context, g Guest) error {
	rungs := g.Ladder()
	return rungs[len(rungs)-1].Run(ctx)
}

func (d *destroyer) remove(ctx context.Context, ref string, opts []RemoveOption) (err error) {
	var o removeOptions
	for _, opt := range opts {
		opt(&o)
	}
	inst, err := d.m.store.Get(ctx, ref)
	if err != nil {
		return err
	}
	if o.force {
		d.m.live.cancelStart(inst)
	} else if inst, err = d.m.settle(ctx, inst); err != nil {
		return err
	} else if inst.State.Live() {
		return stillLive(inst)
	} else if inst.unreachable() {
		return errUnreachable("remove VM", inst)
	}
	lock, err := d.m.locks.wait(ctx, inst.ID)
	if err != nil {
		return errors.Wrap(errors.ErrVMLifecycle, "remove VM", inst.Name, err)
	}
	defer func() { d.m.locks.leave(lock, err == nil || errors.Is(err, errors.ErrVMNotFound)) }()
	if o.force {
		if _, err := d.stopLocked(ctx, inst, stopOptions{force: true}); err != nil {
			return err
		}
	}
	return d.m.states.retry(ctx, inst.ID, func(now Instance) error { return d.removeLocked(ctx, now, o) })
}

// removeLocked deletes the files first: should that be interrupted, the record still
// says whose they are.
func (d *destroyer) removeLocked(ctx context.Context, inst Instance, o removeOptions) error {
	if inst.State.Live() {
		return stillLive(inst)
	}
	if inst.unreachable() {
		return errUnreachable("remove VM", inst)
	}
	images, err := d.leave(ctx, inst)
	if err != nil {
		return err
	}
	drop := images.releaseAll(ctx, inst) // some are there after a stop by KeepImages
	if o.deleteImages || inst.Config.lifetime() == Ephemeral {
		drop = images.erase(ctx, inst)
	}
	if drop = errors.Join(drop, images.unseed(ctx, inst), d.m.state.remove(inst)); drop != nil {
		return errors.Wrap(errors.ErrVMLifecycle, "remove VM", inst.Name, drop)
	}
	err = d.m.states.remove(ctx, inst)
	if err == nil {
		d.m.mine.Delete(inst.ID)
		d.m.locks.forgetImages(inst.ID)
	}
	return err
}

// leave has the backend of a VM that is removed forget it, and returns who keeps its images.
func (d *destroyer) leave(ctx context.Context, inst Instance) (*imageKeeper, error) {
	if d.m.unplaced(inst) {
		return d.m.images, nil
	}
	backend, err := d.m.backend(inst)
	if err != nil {
		return nil, err
	}
	if err := backend.Erase(ctx, inst); err != nil {
		return nil, errors.Wrap(errors.ErrVMLifecycle, "remove VM", inst.Name, err)
	}
	return d.m.imagesOf(backend), nil
}

func stillLive(inst Instance) error {
	return &errors.TransitionError{VM: inst.Name, Op: "remove", State: string(inst.State), Hint: "stop it first, or use ForceRemove"}
}
