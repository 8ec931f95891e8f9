//go:build cgo

package snapshot_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// disturbed is a qemu-img one of whose calls goes wrong: the one number at of those that
// change a snapshot.
type disturbed struct {
	at    int32
	how   func(ctx context.Context, args []string) error
	calls *atomic.Int32
}

func (d disturbed) Run(ctx context.Context, args ...string) ([]byte, error) {
	if args[0] == "snapshot" && d.calls.Add(1) == d.at {
		return nil, &storage.RunError{Args: args, Err: d.how(ctx, args)}
	}
	out, err := exec.CommandContext(ctx, "qemu-img", args...).Output()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, &storage.RunError{Args: args, Err: err}
	}
	return out, nil
}

var errDisk = errors.New("no space left")

// wrongs are ways in which a qemu-img goes wrong.
var wrongs = map[string]func(ctx context.Context, args []string) error{
	"fails": func(context.Context, []string) error { return errDisk },
	// Its writes to the image are slowed down, so that it is killed between two of them.
	"is killed": func(ctx context.Context, args []string) error {
		slow := append([]string{"snapshot", "--object", "throttle-group,id=slow,x-iops-write=20"}, args[1:]...)
		last := len(slow) - 1
		slow[last] = strings.ReplaceAll(slow[last], ",file.", ",file.file.") + ",file.driver=throttle,file.throttle-group=slow"
		ctx, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
		defer cancel()
		return exec.CommandContext(ctx, "qemu-img", slow...).Run()
	},
}

// TestOfflineRolledBack: where qemu-img fails, or is killed, on any disk, all disks are as they
// were before; a snapshot that is being deleted is deleted by the next operation.
func TestOfflineRolledBack(t *testing.T) {
	for wrong, how := range wrongs {
		for _, op := range []string{"create", "load", "delete"} {
			t.Run(op+" "+wrong, func(t *testing.T) {
				w := newSubject(t)
				reset := w.checkpoint(t)
				for at := int32(1); ; at++ {
					reset()
					var calls atomic.Int32
					other := w.again(t, offlineOptions{runner: disturbed{at, how, &calls}})
					err := offlineOps[op].do(t.Context(), other)
					if calls.Load() < at {
						require.NoError(t, err)
						require.Greater(t, at, int32(2), "no call went wrong")
						return
					}
					cause := fmt.Sprintf("%s, call %d %s", op, at, wrong)
					if op == "load" && at > 4 || wrong == "is killed" && err == nil { // it is loaded already, or was done when it was killed
						w.requireWhole(t, op, cause)
						continue
					}
					var failed *storage.RunError
					require.ErrorAs(t, err, &failed, cause)
					require.ErrorIs(t, err, errors.ErrSnapshot)
					if op != "delete" {
						require.Equal(t, 3, w.holds(t), cause)
						require.Equal(t, "two", w.instance(t).Snapshot)
						w.requireClean(t, "one", "two")
					}
					w.requireWhole(t, op, cause)
				}
			})
		}
	}
}

// TestOfflineCancelled: a context that ends at any step leaves the VM as it was, or, where the
// operation was as good as done, as it should be.
func TestOfflineCancelled(t *testing.T) {
	for _, op := range []string{"create", "load", "delete"} {
		t.Run(op, func(t *testing.T) {
			w := newSubject(t)
			reset := w.checkpoint(t)
			for step := int32(1); ; step++ {
				reset()
				ctx, cancel := context.WithCancel(t.Context())
				var steps atomic.Int32
				var name string
				other := w.again(t, offlineOptions{onStep: func(_ context.Context, s string) {
					if steps.Add(1) == step {
						name = s
						cancel()
					}
				}})
				err := offlineOps[op].do(ctx, other)
				cancel()
				if steps.Load() < step {
					require.NoError(t, err)
					require.Greater(t, step, int32(4), "no step was hit")
					return
				}
				cause := fmt.Sprintf("%s cancelled at step %d, %s", op, step, name)
				if err != nil {
					require.ErrorIs(t, err, context.Canceled, cause)
				}
				w.requireWhole(t, op, cause)
				// From the last steps on it is finished in the background, if its caller can't wait.
				if err != nil && name != "creating: stand on it" && name != "creating: done" {
					require.NotContains(t, w.instance(t).Snapshot, "new", cause)
				}
			}
		})
	}
}
