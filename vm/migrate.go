package vm

import "context"

// Migrator is a [Guest] that can move to another backend while it runs.
type Migrator interface {
	// Migrate moves the guest of inst to the backend to, and returns it there. It runs on
	// meanwhile. When Migrate fails, or ctx ends, it runs on where it was, and nothing of it is
	// left on the other side. A backend that it can't move to, or a guest that can't, such as
	// one that is Ephemeral, is errors.ErrInvalidConfiguration, before anything is done.
	//
	// After it succeeded the guest it was called of is done: its Done is closed.
	Migrate(ctx context.Context, inst Instance, to Backend) (Guest, error)
}
