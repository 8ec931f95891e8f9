//go:build linux

package libvirt

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

func lifeBackend(t *testing.T, d *libvirttest.Daemon) *Backend {
	t.Helper()
	b, err := New(Options{URI: d.URI(), LogDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func lifeSpec(lifetime vm.Lifetime) vm.LaunchSpec {
	id := uuid.NewString()
	return vm.LaunchSpec{ID: id, Config: vm.Config{Name: "life-" + id[:8], Lifetime: lifetime}}
}

func lifeInstance(s vm.LaunchSpec) vm.Instance {
	return vm.Instance{ID: s.ID, Name: s.Config.Name, Config: s.Config, State: vm.Running}
}

func lifeWithin(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestLaunchToErase(t *testing.T) {
	d := daemon.Get(t)
	b := lifeBackend(t, d)
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		t.Run(string(lifetime), func(t *testing.T) {
			ctx := lifeWithin(t)
			spec := lifeSpec(lifetime)
			g, err := b.Launch(ctx, spec)
			require.NoError(t, err)
			defer g.Release()
			require.NoError(t, g.Connect(ctx))
			require.Equal(t, DefaultName, g.Runtime().Backend)

			again, err := b.Attach(ctx, lifeInstance(spec))
			require.NoError(t, err)
			require.NoError(t, again.Release())
			require.NoError(t, again.Release(), "again")
			_, err = b.Launch(ctx, spec)
			require.ErrorIs(t, err, errors.ErrVMAlreadyRunning)

			rungs := g.Ladder()
			require.Error(t, rungs[0].Run(ctx), "a halted guest can't shut down")
			require.NoError(t, g.Continue(ctx))
			require.NoError(t, rungs[len(rungs)-1].Run(ctx))
			<-g.Done()
			require.Equal(t, errors.ExitStatus{Known: true}, g.Exit())

			_, err = b.Attach(ctx, lifeInstance(spec))
			require.ErrorIs(t, err, errors.ErrVMNotRunning)
			found, err := b.find(ctx, spec.ID, spec.Config.Name)
			require.NoError(t, err)
			require.Equal(t, lifetime == vm.Persistent, found != nil)
			require.NoError(t, b.Clean(ctx, lifeInstance(spec)))
			require.NoError(t, b.Erase(ctx, lifeInstance(spec)))
			require.NoError(t, b.Erase(ctx, lifeInstance(spec)), "again")
			found, err = b.find(ctx, spec.ID, spec.Config.Name)
			require.NoError(t, err)
			require.Nil(t, found)
		})
	}
}
