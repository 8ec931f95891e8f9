package vm

import (
	"context"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
)

// forks reports whether the start continues from a template.
func (s *start) forks() bool { return s.inst.resumable() && !s.opts.cold }

// checkFork says why a fork can't be started as it is asked.
func (s *start) checkFork() error {
	switch {
	case !s.forks():
		return nil
	case s.m.forks == nil:
		return &errors.Error{Kind: errors.ErrSnapshot, Op: "start fork", VM: s.inst.Name,
			Msg: "this manager has no templates", Hint: "give vm.Options.Templates, or start by vm.ColdBoot"}
	case s.opts.paused && !s.inst.Fork.Alike:
		return &errors.Error{Kind: errors.ErrVMStart, Op: "start fork", VM: s.inst.Name,
			Msg: "its guest can't be started paused: it has to run to get an identity of its own", Hint: "pause it afterwards"}
	}
	return nil
}

func (s *start) openOrigin(ctx context.Context) (err error) {
	if s.forks() {
		s.from, err = s.m.forks.Open(ctx, s.inst)
	}
	return err
}

func (s *start) closeOrigin() error {
	if s.from == nil {
		return nil
	}
	return s.from.Close()
}

func (s *start) parts() OriginParts {
	if s.from == nil {
		return OriginParts{}
	}
	return s.from.Parts()
}

func (s *start) incoming() *Incoming {
	if s.from == nil {
		return nil
	}
	in := s.from.Parts().Incoming
	return &in
}

// bootFiles returns what the guest boots from; of a fork what its template did, because that
// is in its memory.
func (s *start) bootFiles(ctx context.Context) (BootFiles, error) {
	if s.from != nil {
		return s.from.Parts().Boot, nil
	}
	return s.m.booter.ResolveBoot(ctx, s.inst.Config)
}

// seed returns the image for cloud-init.
func (s *start) seed(ctx context.Context) (string, error) {
	if s.from != nil {
		return s.from.Parts().Seed, nil
	}
	return s.m.imagesOf(s.backend).seed(ctx, s.inst)
}

// resumeFork loads the template's state.
func (s *start) resumeFork(ctx context.Context) (func(context.Context) error, error) {
	s.live.halted.Store(true)                                     // until it continues
	ctx, cancel := context.WithTimeout(ctx, s.limits.Ready.std()) // all of the memory may have to be loaded
	defer cancel()
	ctx, stop := s.live.guard(ctx)
	defer stop()
	return nil, causeOf(ctx, s.from.Resume(ctx, s.live.guest))
}

// settleFork makes the guest somebody of its own, before anybody gets it.
func (s *start) settleFork(ctx context.Context) (func(context.Context) error, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Ready.std())
	defer cancel()
	ctx, stop := s.live.guard(ctx)
	defer stop()
	err := causeOf(ctx, s.from.Settle(ctx, s.inst))
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Wrap(errors.ErrWaitTimeout, "", "", err)
	}
	return nil, err
}

// differentLines says which lines only one of two texts has.
func differentLines(saved, now string) (out []string) {
	was, is := strings.Split(saved, "\n"), strings.Split(now, "\n")
	for _, l := range was {
		if !slices.Contains(is, l) {
			out = append(out, "it had "+l)
		}
	}
	for _, l := range is {
		if !slices.Contains(was, l) {
			out = append(out, "it would have "+l)
		}
	}
	return out
}
