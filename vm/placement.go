package vm

import "context"

// Placer chooses the backend of VMs whose Config.Backend names no backend but several to choose
// from, such as "any"; see [Options].
type Placer interface {
	// Place returns the name of the backend that is to run inst, which is about to be started
	// and is on no backend, or has nothing there that lasts. Where none can,
	// errors.ErrInvalidConfiguration says why for each.
	Place(ctx context.Context, inst Instance) (string, error)
}
