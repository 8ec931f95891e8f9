package qmp

import (
	"encoding/json"
	"time"
)

// EventGap is the name of an event that no QEMU sends: a client that keeps its
// subscriptions over a new connection (see [KeepSubscriptions]) delivers it, whatever
// names were asked for, once the new connection works. Events between the loss of the
// old connection and it may be missing; ask QEMU for the present state.
const EventGap = "MAQET_GAP"

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
