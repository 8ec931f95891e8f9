package snapshot_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestTemplateDeletedWhileForked: forks that begin while their template is deleted work, or find
// that it is gone; and so is the template, or it is in use.
func TestTemplateDeletedWhileForked(t *testing.T) {
	h := newHouse(t)
	for range 6 {
		h.boot(h.withoutSystem("base"), vm.StartPaused())
		tmpl := h.capture("base", "one")
		require.NoError(t, h.vms.Remove(soon(t), "base"))
		var group sync.WaitGroup
		forks := make([]vm.Instance, 3)
		for i := range forks {
			group.Go(func() {
				f, err := h.snaps.Fork(soon(t), "one", snapshot.Alike())
				if err != nil && !errors.Is(err, errors.ErrTemplateNotFound) {
					t.Error(err)
				}
				forks[i] = f
			})
		}
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // so that it happens at any moment
		err := h.snaps.DeleteTemplate(soon(t), "one")
		group.Wait()
		made := 0
		for _, f := range forks {
			if f.ID == "" {
				continue
			}
			made++
			inst, err := h.vms.Get(t.Context(), f.ID)
			require.NoError(t, err)
			require.Equal(t, vm.Running, inst.State)
		}
		if made > 0 {
			require.ErrorIs(t, err, errors.ErrTemplateInUse)
		} else {
			require.NoError(t, err)
		}
		for _, f := range forks {
			if f.ID != "" {
				require.NoError(t, h.vms.Remove(soon(t), f.ID, vm.ForceRemove()))
			}
		}
		if made > 0 {
			require.NoError(t, h.snaps.DeleteTemplate(soon(t), "one"))
		}
		h.requireNoTemplate(tmpl)
		require.Empty(t, h.vmNames())
	}
}

// TestCapturesAtOnce: of two captures of one VM, and of two to one name, one wins; the other is
// told so, and its guest goes on.
func TestCapturesAtOnce(t *testing.T) {
	h := newHouse(t)
	both := func(first, second func() error) (won, lost int, err error) {
		errs := make([]error, 2)
		var group sync.WaitGroup
		for i, fn := range []func() error{first, second} {
			group.Go(func() { errs[i] = fn() })
		}
		group.Wait()
		require.True(t, (errs[0] == nil) != (errs[1] == nil), "%v", errs)
		if errs[0] == nil {
			return 0, 1, errs[1]
		}
		return 1, 0, errs[0]
	}
	capture := func(ref, name string) func() error {
		return func() error {
			_, err := h.snaps.Capture(soon(t), ref, name)
			return err
		}
	}
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	names := []string{"one", "two"}
	won, lost, err := both(capture("base", "one"), capture("base", "two"))
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	_, err = h.snaps.Template(t.Context(), names[won])
	require.NoError(t, err)
	_, err = h.snaps.Template(t.Context(), names[lost])
	require.ErrorIs(t, err, errors.ErrTemplateNotFound)

	only := names[won]
	refs := []string{"a", "b"}
	for _, name := range refs {
		h.boot(h.withoutSystem(name), vm.WaitFor())
	}
	won, lost, err = both(capture("a", "three"), capture("b", "three"))
	require.ErrorIs(t, err, errors.ErrTemplateExists)
	for ref, state := range map[string]vm.State{refs[won]: vm.Stopped, refs[lost]: vm.Running} {
		inst, err := h.vms.Get(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, state, inst.State, ref)
	}
	require.NoError(t, h.vms.Remove(soon(t), refs[lost], vm.ForceRemove()))

	// A fork of a fork of a fork: each stands on the one before, and they go in that order.
	tree := []string{"three", "four", "five"}
	for i, parent := range tree[:2] {
		f := h.fork(parent, snapshot.Alike(), snapshot.ForkForCapture())
		tmpl := h.capture(f.ID, tree[i+1])
		require.Equal(t, parent, tmpl.Parent)
		require.NoError(t, h.vms.Remove(soon(t), f.ID))
	}
	leaf := h.fork("five", snapshot.Alike())
	for i, name := range tree {
		err := h.snaps.DeleteTemplate(t.Context(), name)
		require.ErrorIs(t, err, errors.ErrTemplateInUse)
		require.ErrorContains(t, err, append(tree, "VM "+leaf.Name)[i+1])
	}
	require.NoError(t, h.vms.Remove(soon(t), leaf.ID, vm.ForceRemove()))
	for _, name := range []string{"five", "four", "three", only} {
		require.NoError(t, h.snaps.DeleteTemplate(soon(t), name))
	}
	list, err := h.snaps.Templates(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
}
