package vm

import "time"

// Event is a change of a VM's record.
type Event struct {
	Time   time.Time
	ID     string
	Name   string
	From   State // empty when the VM was added
	To     State // empty when the VM was removed; From, when only the Reason is new
	Reason string
	// Dropped is how many earlier events this watcher lost because it did not read;
	// Get and List have the present truth.
	Dropped int
}
