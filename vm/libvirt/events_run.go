package libvirt

import (
	"context"
	"time"

	"github.com/maqet/maqet/internal/libvirtrpc"
)

// run has a connection for as long as somebody is subscribed. Once there is one it is kept until
// it is lost or the hub is closed.
func (h *eventHub) run() {
	pause := eventPause
	for h.wanted() {
		events, err := h.connect()
		h.connected(err)
		if err == nil {
			pause = eventPause
			err = h.pass(events)
			h.lost()
		}
		if h.ctx.Err() != nil {
			return
		}
		h.log.WarnContext(h.ctx, "no events of libvirt", "uri", h.uri(), "error", err, "pause", pause)
		h.rest(pause)
		pause = min(2*pause, eventPauseMax)
	}
}

// wanted reports whether a connection is; if not, the goroutine has to end.
func (h *eventHub) wanted() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = len(h.subs) > 0
	return h.running
}

func (h *eventHub) connect() (*libvirtrpc.Events, error) {
	ctx, cancel := context.WithTimeout(h.ctx, eventDialTime)
	defer cancel()
	conn, err := h.dial(ctx)
	if err != nil {
		return nil, err
	}
	return libvirtrpc.Listen(ctx, conn, h.uri(), libvirtrpc.Keepalive{Interval: eventPingInterval, Count: eventPingCount})
}

// connected tells the outcome of the attempt to those who wait for it; and those who had a
// connection before that events may have been lost meanwhile.
func (h *eventHub) connected(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempt.err = err
	close(h.attempt.done)
	select {
	case <-h.hurry: // was for this attempt
	default:
	}
	if err != nil {
		h.attempt = newEventAttempt()
		return
	}
	h.attempt = nil
	for _, subs := range h.subs {
		for s := range subs {
			if s.joined {
				s.missed()
			}
		}
	}
}

// pass hands on events until there are no more, and returns why. It never waits for who gets
// them.
func (h *eventHub) pass(events *libvirtrpc.Events) error {
	defer context.AfterFunc(h.ctx, func() { _ = events.Close() })()
	for e := range events.C() {
		h.mu.Lock()
		for s := range h.subs[e.Domain.UUID] {
			s.offer(e)
		}
		h.mu.Unlock()
	}
	_ = events.Close() // what it fails with is no news
	return events.Err()
}

// lost makes those who come wait for the next connection.
func (h *eventHub) lost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempt = newEventAttempt()
}

// rest waits before the next attempt, unless somebody waits for that.
func (h *eventHub) rest(pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.hurry:
	case <-h.ctx.Done():
	}
}
