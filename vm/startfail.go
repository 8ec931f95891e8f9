package vm

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// record writes the state Failed. It reads the record first: a write that was cancelled
// may have been made.
func (s *start) record(ctx context.Context, reason string, exit *errors.ExitStatus) error {
	return s.m.states.retry(ctx, s.inst.ID, func(now Instance) error {
		next, err := s.m.states.move(ctx, now, Failed, reason, func(i *Instance) {
			i.Steps, i.Runtime.Exit = s.seq.steps, exit
			i.Unclean = i.Unclean || exit != nil && ending{to: Failed, exit: *exit}.unclean()
		})
		if err == nil {
			s.inst = next
		}
		return err
	})
}

// fail undoes everything and returns the error with its evidence.
func (s *start) fail(ctx context.Context, failed string, err error) (Instance, error) {
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	if s.lock == nil { // nothing was begun, the record is as it was
		var illegal *errors.TransitionError
		if errors.As(err, &illegal) {
			return s.inst, err
		}
		return s.inst, &errors.StartError{VM: s.inst.Name, Step: failed, Err: err}
	}
	ev := evidence(s.live)
	stray, undoErr := s.takeBack(ctx, failed, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	reason := ReasonStartFailed + ": " + failed
	if stray {
		reason = ReasonHostUnreachable
	}
	recordErr := s.record(ctx, reason, ev.exit)
	if recordErr == nil && s.live != nil && !stray {
		s.live.recorded()
	}
	undoErr = errors.Join(undoErr, recordErr, s.unlock())
	if undoErr != nil {
		s.m.log.WarnContext(ctx, "failed start not undone in full", "vm", s.inst.Name, "error", undoErr)
	}
	return s.inst, &errors.StartError{
		VM: s.inst.Name, Step: failed, Args: s.inst.Runtime.Args,
		Exit: ev.exit, Stderr: ev.stderr, Console: ev.console, Err: errors.Join(err, undoErr),
	}
}

// takeBack undoes a start that failed. stray: its guest may live on all the same, because its host
// can't be reached. Then it keeps its images, and another start, perhaps elsewhere, would be a
// second one.
func (s *start) takeBack(ctx context.Context, failed string, err error) (stray bool, undoErr error) {
	if s.live == nil && failed == StepLaunch && errors.Is(err, errors.ErrHostUnreachable) {
		return true, nil // it may have been made
	}
	undoErr = s.seq.undo(ctx)
	return s.live != nil && !gone(s.live.guest) && errors.Is(undoErr, errors.ErrHostUnreachable), undoErr
}
