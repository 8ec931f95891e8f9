package storage

import (
	"context"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
	"github.com/maqet/maqet/internal/proc"
)

// dyingLimit is how long a qemu-img that is in the way is waited for. It dies with the process
// that runs it, but not at the same moment.
const dyingLimit = time.Second

// lettingGo is how long to wait for a process that is ending: it loses its descriptors, by
// which it is found, before its locks. That is no event.
const lettingGo = 10 * time.Millisecond

// outlive looks again whether there is a fault, as long as that is only a qemu-img that may be
// dying, and returns what is left.
func outlive(ctx context.Context, fault *ImageError, look func() *ImageError) *ImageError {
	ctx, cancel := context.WithTimeout(ctx, dyingLimit)
	defer cancel()
	for ctx.Err() == nil && fault != nil && errors.Is(fault, errors.ErrImageInUse) && dying(fault.Holders) {
		awaitEnd(ctx, fault.Holders)
		fault = look()
	}
	return fault
}

// dying reports whether none of an image's holders is anything but a qemu-img. There are none
// if they have lost their descriptors already.
func dying(holders []imagelock.Holder) bool {
	for _, h := range holders {
		if h.Program != "qemu-img" {
			return false
		}
	}
	return true
}

// awaitEnd waits until some processes have ended, or ctx has.
func awaitEnd(ctx context.Context, holders []imagelock.Holder) {
	if len(holders) == 0 {
		select {
		case <-ctx.Done():
		case <-time.After(lettingGo):
		}
		return
	}
	for _, h := range holders {
		id, err := proc.Of(h.PID)
		if err != nil {
			continue // it is gone
		}
		handle, err := proc.Open(id)
		if err != nil {
			continue
		}
		_ = handle.Wait(ctx) // who looks again sees
		_ = handle.Close()   // nothing was written
	}
}
