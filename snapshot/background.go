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

// work does what an operation is for, and returns when it is done, or soon after ctx has
// ended. What is to be undone then is undone in the background: the operation keeps its
// reservation, which the next one on the VM waits for, and so does vm.Manager.Close.
func work[T any](ctx context.Context, op *operation, fn func(ctx context.Context) (T, error)) (T, error) {
	mute := op.serialize()
	defer mute()
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() { // ends with undoLimit, at the latest; vm.Manager.Close waits for release
		defer op.release() // which is idempotent: for a test that ends the goroutine as if the process had died
		value, err := fn(ctx)
		op.release()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(promptly)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.value, o.err
	case <-timer.C:
		var none T
		return none, &errors.Error{Kind: errors.ErrSnapshot, Op: op.what, VM: op.inst.Name,
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
