package qmp

import (
	"encoding/json"
	"time"
)

// Event is something that QEMU reports by itself (QEMU QMP Reference Manual).
type Event struct {
	Name string          // "SHUTDOWN", "STOP", ...
	Data json.RawMessage // nil when QEMU sent none
	Time time.Time       // by the host's clock when QEMU sent it
	// Dropped is how many events this subscriber lost just before this one, because
	// its queue was full.
	Dropped int
}

// Decode unmarshals Data into v; without data it leaves v alone.
func (e Event) Decode(v any) error {
	if len(e.Data) == 0 {
		return nil
	}
	return json.Unmarshal(e.Data, v)
}

// Subscription is one subscriber's bounded queue of events.
type Subscription struct {
	c chan Event
}

// C delivers the events. It is closed when the subscription or the connection ends.
func (s *Subscription) C() <-chan Event { return s.c }

// Close ends the subscription. It is idempotent.
func (s *Subscription) Close() {}
