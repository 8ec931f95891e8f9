package snapshot

import (
	"context"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// Load brings a VM back to what it was when the snapshot was made.
func (c *Coordinator) Load(ctx context.Context, ref, name string, opts ...Option) error {
	ctx, op, err := c.begin(ctx, onLoad, "load snapshot "+strconv.Quote(name), ref, opts)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) { return struct{}{}, op.load(ctx, name) })
	return err
}

func (op *operation) load(ctx context.Context, name string) error {
	rec, err := op.find(name)
	if err != nil {
		return err
	}
	if err := op.buried(rec); err != nil {
		return err
	}
	if err := op.unblocked(ctx, rec); err != nil {
		return err
	}
	switch {
	case rec.Kind == External:
		err = op.loadExternal(ctx, rec)
	case op.live():
		err = op.loadMemory(ctx, rec)
	default:
		err = op.loadOffline(ctx, rec)
	}
	return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
}
