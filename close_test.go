package maqet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestCloseDuringRun closes a Maqet while another goroutine boots a guest, at each step
// of the start: Close does not wait for the guest, and nothing of the VM is left.
func TestCloseDuringRun(t *testing.T) {
	for _, step := range []string{vm.StepValidate, vm.StepImages, vm.StepHandshake, vm.StepReady} {
		for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
			t.Run(step+"/"+string(lifetime), func(t *testing.T) {
				dir := shortDir(t)
				m, err := maqet.New(maqet.WithDir(dir))
				require.NoError(t, err)
				begun := make(chan struct{})
				res := make(chan error, 1)
				go func() {
					_, err := m.Run(context.Background(), vm.Config{Lifetime: lifetime}, vm.OnStep(func(s vm.Step) {
						if s.Name == step && s.Duration == 0 {
							close(begun)
						}
					}))
					res <- err
				}()
				<-begun
				since := time.Now()
				require.NoError(t, m.Close())
				require.Less(t, time.Since(since), 2*time.Second)
				err = <-res
				require.ErrorIs(t, err, errors.ErrVMStart)
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorContains(t, err, "maqet was closed")
				_, err = m.Run(t.Context(), vm.Config{})
				require.ErrorContains(t, err, "maqet was closed")

				again, err := maqet.New(maqet.WithDir(dir))
				require.NoError(t, err)
				list, err := again.VM.List(t.Context(), vm.Filter{})
				require.NoError(t, err)
				require.Empty(t, list)
				require.NoError(t, again.Close())
			})
		}
	}
}
