package snapshot

import (
	"context"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// promptly is how long an operation that was given up may take to end before its caller is
// let go.
const promptly = 50 * time.Millisecond

// outlive returns a context that goes on for undoLimit when ctx has ended: for what is to be
// brought to an end, and must not wait for ever for a QEMU that hangs.
func (k *Keeper) outlive(ctx context.Context) (longer context.Context, cancel context.CancelFunc) {
	longer, end := context.WithCancelCause(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		timer := time.NewTimer(k.undoLimit)
		defer timer.Stop()
		select {
		case <-longer.Done():
		case <-timer.C:
			end(context.DeadlineExceeded)
		}
	})
	return longer, func() {
		end(context.Canceled)
		if !stop() {
			<-ended
		}
	}
}

// work mends what operations that died have left, does what an operation is for, and returns
// when it is done, or soon after ctx has ended. What is to be undone then is undone in the
// background: the operation keeps its reservation, which the next one on the VM waits for, and
// so does vm.Manager.Close.
func work[T any](ctx context.Context, op *operation, fn func(ctx context.Context) (T, error)) (T, error) {
	mute := op.serialize()
	defer mute()
	type outcome struct {
		value T
		err   error
	}
	done, released, name := make(chan outcome, 1), make(chan struct{}), op.inst.Name
	go func() { // each wait of it ends with undoLimit; vm.Manager.Close waits for release
		defer op.release() // which is idempotent: for a test that ends the goroutine as if the process had died
		var o outcome
		if o.err = op.prepare(ctx); o.err == nil {
			o.value, o.err = fn(ctx)
		}
		done <- o // before the reservation ends, and ctx with it: that is no giving up
		op.release()
		close(released)
	}()
	select {
	case o := <-done:
		<-released
		return o.value, o.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(promptly)
	defer timer.Stop()
	select {
	case o := <-done:
		<-released
		return o.value, o.err
	case <-timer.C:
		var none T
		return none, &errors.Error{Kind: errors.ErrSnapshot, Op: op.what, VM: name,
			Msg: "given up, and undone or finished in the background", Err: context.Cause(ctx)}
	}
}

// serialize has progress told by one goroutine at a time, and none any more after mute.
func (op *operation) serialize() (mute func()) {
	fn := op.progress
	if fn == nil {
		return func() {}
	}
	var mu sync.Mutex
	muted := false
	op.progress = func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		if !muted {
			fn(p)
		}
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		muted = true
	}
}
