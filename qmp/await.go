package qmp

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// Await returns the first event for which match is true; nil matches any. Events are
// consumed up to and including it. When ctx ends first the error is
// errors.ErrQMPTimeout and ctx's; when the subscription ends, errors.ErrQMPConnection.
//
// Subscribe before what causes the event, so that it can't come too early. A match that
// can be missed while the connection is made anew, or because the queue was full, should
// look at [EventGap] and Event.Dropped, and ask QEMU for the present state.
func (s *Subscription) Await(ctx context.Context, match func(Event) bool) (Event, error) {
	for {
		select {
		case e, ok := <-s.c:
			if !ok {
				return Event{}, &errors.Error{Kind: errors.ErrQMPConnection, Op: "await an event", Msg: "the subscription has ended"}
			}
			if match == nil || match(e) {
				return e, nil
			}
		case <-ctx.Done():
			return Event{}, errors.Wrap(errors.ErrQMPTimeout, "await an event", "", context.Cause(ctx))
		}
	}
}

// Await returns the first event of the VM called ref for which match is true; nil
// matches any. names limits which events are looked at; none means all. Only events
// that come after the call count: to wait for the effect of a command, begin to wait
// first, or use [Conn].Subscribe. Errors: as [Subscription.Await], or what the
// [Finder] says about ref.
func (m *Manager) Await(ctx context.Context, ref string, match func(Event) bool, names ...string) (Event, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return Event{}, err
	}
	sub := conn.Subscribe(names...)
	defer sub.Close()
	e, err := sub.Await(ctx, match)
	if lost := conn.Err(); err != nil && ctx.Err() == nil && lost != nil {
		err = errors.Wrap(errors.ErrQMPConnection, "await an event", "", lost)
	}
	return e, onVM(err, m.label(ref))
}
