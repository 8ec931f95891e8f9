package snapshot

import (
	"context"
	"time"
)

// Hurry has what outlives a context do so for limit only.
func (k *Keeper) Hurry(limit time.Duration) { k.undoLimit = limit }

// Mend does what every operation begins with.
func (c *Coordinator) Mend(ctx context.Context, ref string) error {
	ctx, op, err := c.begin(ctx, onLoad, "mend", ref, nil)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(context.Context) (struct{}, error) { return struct{}{}, nil })
	return err
}

// Fits is misfits, for tests.
var Fits = misfits
