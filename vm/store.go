package vm

import "context"

// Store keeps instances. Implementations are safe for concurrent use by goroutines;
// one that keeps a file also by processes. Package vm/storetest proves the rules.
//
// Returned instances are copies. Failures of the store itself are
// errors.ErrDatabase.
type Store interface {
	// Create records a new instance, with Version 1. errors.ErrVMAlreadyExists when
	// the ID or the name is taken.
	Create(ctx context.Context, inst Instance) (Instance, error)
	// Get finds by name or ID. errors.ErrVMNotFound.
	Get(ctx context.Context, ref string) (Instance, error)
	// List returns what f selects, ordered by name.
	List(ctx context.Context, f Filter) ([]Instance, error)
	// Update replaces the record of next.ID if, and only if, it still has that state
	// and version; Version becomes version+1 and Changed the present. Otherwise it
	// returns a [*ConflictError], or errors.ErrVMNotFound. A changed name that is taken:
	// errors.ErrVMAlreadyExists.
	Update(ctx context.Context, next Instance, state State, version int64) (Instance, error)
	// Delete removes the record under the same condition.
	Delete(ctx context.Context, id string, state State, version int64) error
	// Changes returns a channel that gets a value after each change, also one made by
	// another process; several changes may come as one value. It is closed when ctx ends.
	Changes(ctx context.Context) (<-chan struct{}, error)
	// Close releases the store. Later calls fail with errors.ErrDatabase.
	Close() error
}

// ConflictError says that somebody else changed the record first. Current is the
// record as it is now.
type ConflictError struct {
	Current Instance
}

// Error names the VM and its present state.
func (e *ConflictError) Error() string {
	return "VM " + e.Current.Name + " was changed by somebody else and is now " + string(e.Current.State)
}

// Filter selects instances; the zero Filter selects all. What is set must all hold.
type Filter struct {
	States   []State           // any of these
	Names    []string          // any of these names or IDs
	Labels   map[string]string // all of these; an empty value matches any
	Lifetime Lifetime
}

// Matches reports whether f selects inst. Stores that can't express a filter in
// their own language use it.
func (f Filter) Matches(inst Instance) bool {
	return f.matchesState(inst) && f.matchesName(inst) && f.matchesLabels(inst) &&
		(f.Lifetime == "" || f.Lifetime == inst.Config.lifetime())
}

func (f Filter) matchesState(inst Instance) bool {
	for _, s := range f.States {
		if s == inst.State {
			return true
		}
	}
	return len(f.States) == 0
}

func (f Filter) matchesName(inst Instance) bool {
	for _, n := range f.Names {
		if n == inst.Name || n == inst.ID {
			return true
		}
	}
	return len(f.Names) == 0
}

func (f Filter) matchesLabels(inst Instance) bool {
	for k, want := range f.Labels {
		got, ok := inst.Config.Labels[k]
		if !ok || (want != "" && want != got) {
			return false
		}
	}
	return true
}

// lifetime returns the Lifetime that the configuration means.
func (c Config) lifetime() Lifetime {
	if c.Lifetime == "" {
		return Ephemeral
	}
	return c.Lifetime
}
