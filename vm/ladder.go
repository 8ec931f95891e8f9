package vm

import (
	"context"
	"time"
)

// ladder stops a guest by ever harder means.
type ladder struct {
	guest   Guest
	limits  Timeouts
	force   bool
	timeout time.Duration // for the guest's own shutdown; 0: limits.Stop
	up      bool          // the guest was up once: there is somebody to ask
}

// budget is how long each kind of rung may take.
type budget struct {
	graceful, quit, term, kill time.Duration
}

// budget shares out the time until ctx's deadline, so that even the last rung has
// some: SIGKILL comes before the caller's patience ends.
func (l *ladder) budget(ctx context.Context) budget {
	b := budget{graceful: l.limits.Stop.std(), quit: quitTime, term: termTime, kill: killTime}
	if l.timeout > 0 {
		b.graceful = l.timeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		b.kill = min(b.kill, left/5)
		b.term = min(b.term, left/10)
		b.quit = min(b.quit, left/5)
		b.graceful = min(b.graceful, left-b.kill-b.term-b.quit)
	}
	return b
}

// descend goes down the ladder until the guest is gone.
func (l *ladder) descend(ctx context.Context) (StopReport, error) {
	var report StopReport
	b := l.budget(ctx)
	gracefulEnd := time.Now().Add(b.graceful)
	rungs := l.guest.Ladder()
	var tried StopStep
	for i, rung := range rungs {
		if gone(l.guest) {
			break
		}
		last := i == len(rungs)-1
		if l.force && !last {
			continue
		}
		limit := l.limit(b, rung, gracefulEnd, last)
		if rung.Graceful && !last && rungs[i+1].Graceful {
			limit /= 2 // who has agreed to go, and does not, leaves the other way some time
		}
		if limit <= 0 {
			continue
		}
		tried = rung
		attempt, done := l.try(ctx, rung, limit)
		report.Tried = append(report.Tried, attempt)
		if done {
			report.Step, report.Graceful = rung.Name, rung.Graceful
			return report, nil
		}
		if ctx.Err() != nil && !last {
			return report, context.Cause(ctx)
		}
	}
	if gone(l.guest) {
		if report.Step, report.Graceful = tried.Name, tried.Graceful; report.Step == "" {
			report.Step = "exited"
		}
		return report, nil
	}
	return report, context.DeadlineExceeded
}

func (l *ladder) limit(b budget, rung StopStep, gracefulEnd time.Time, last bool) time.Duration {
	switch {
	case last:
		return b.kill
	case rung.Graceful && !l.up:
		return l.deafLimit(rung, gracefulEnd)
	case rung.Graceful:
		return time.Until(gracefulEnd)
	case rung.Name == "quit":
		return b.quit
	default:
		return b.term
	}
}

// deafLimit is for a guest that never was up: its agent can't answer, and there is
// nothing to lose that would be worth a long wait for its power button.
func (l *ladder) deafLimit(rung StopStep, gracefulEnd time.Time) time.Duration {
	if rung.Name == "agent" {
		return 0
	}
	return min(time.Until(gracefulEnd), deafTime)
}

// try takes one rung and waits for the guest to go.
func (l *ladder) try(ctx context.Context, rung StopStep, limit time.Duration) (StopAttempt, bool) {
	begun := time.Now()
	attempt := StopAttempt{Step: rung.Name}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := rung.Run(ctx)
	done := false
	if err == nil {
		select {
		case <-l.guest.Done():
			done = true
		case <-ctx.Done():
			attempt.Err = "timed out"
		}
	} else {
		attempt.Err = err.Error()
		done = gone(l.guest)
	}
	attempt.Duration = time.Since(begun)
	return attempt, done
}
