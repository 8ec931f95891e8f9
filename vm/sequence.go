package vm

import (
	"context"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
)

// undoTimeout bounds the undoing of a failed start, which runs whatever became of
// the caller's context.
const undoTimeout = 15 * time.Second

// step is one part of a sequence. do returns how to undo it, nil when there is
// nothing to undo.
type step struct {
	name string
	do   func(ctx context.Context) (undo func(context.Context) error, err error)
}

// sequence runs steps in order. When one fails the earlier ones are undone in reverse.
type sequence struct {
	progress func(Step)
	steps    []Step
	undos    []func(context.Context) error
}

// run returns the name of the step that failed, with its error.
func (s *sequence) run(ctx context.Context, steps []step) (string, error) {
	for _, st := range steps {
		rec := Step{Name: st.name, Started: time.Now()}
		s.report(rec)
		undo, err := st.do(ctx)
		rec.Duration = time.Since(rec.Started)
		if err != nil {
			rec.Err = err.Error()
		}
		s.steps = append(s.steps, rec)
		s.report(rec)
		if undo != nil {
			s.undos = append(s.undos, undo)
		}
		if err != nil {
			return st.name, err
		}
	}
	return "", nil
}

func (s *sequence) report(rec Step) {
	if s.progress != nil {
		s.progress(rec)
	}
}

// undo undoes everything that was done, last first. What can't be because a host is out of reach
// keeps all that was done before it: it may need that.
func (s *sequence) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	for _, fn := range slices.Backward(s.undos) {
		err := fn(ctx)
		errs = append(errs, err)
		if errors.Is(err, errors.ErrHostUnreachable) {
			break
		}
	}
	s.undos = nil
	return errors.Join(errs...)
}
