package snapshot

import "context"

// Mend does what every operation begins with.
func (c *Coordinator) Mend(ctx context.Context, ref string) error {
	_, op, err := c.begin(ctx, onLoad, "mend", ref, nil)
	if err == nil {
		op.release()
	}
	return err
}

// Fits is misfits, for tests.
var Fits = misfits
