package snapshot

import (
	"context"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// Delete deletes a snapshot. The VM stays as it is now; children of the snapshot become
// children of its parent. An external one is committed: what was written since goes into the
// images that it kept.
func (c *Coordinator) Delete(ctx context.Context, ref, name string, opts ...Option) error {
	ctx, op, err := c.begin(ctx, onDelete, "delete snapshot "+strconv.Quote(name), ref, opts)
	if err != nil {
		return err
	}
	_, err = work(ctx, op, func(ctx context.Context) (struct{}, error) { return struct{}{}, op.delete(ctx, name) })
	return err
}

func (op *operation) delete(ctx context.Context, name string) error {
	if op.backend != nil {
		return op.deleteByBackend(ctx, name)
	}
	rec, err := op.find(name)
	if err != nil {
		return err
	}
	if err := op.buried(rec); err != nil {
		return err
	}
	switch {
	case rec.Kind == External:
		err = op.commit(ctx, rec)
	case op.live():
		err = op.deleteMemory(ctx, rec)
	default:
		err = op.keeper.deleteInternal(ctx, op.r, rec)
	}
	return errors.Wrap(errors.ErrSnapshot, op.what, op.inst.Name, err)
}
