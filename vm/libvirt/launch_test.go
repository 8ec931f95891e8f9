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
			require.Equal(t, g.Runtime().Console, again.Runtime().Console, "which was not recorded")
			require.Equal(t, g.Runtime().Sockets, again.Runtime().Sockets)
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

// A launch that is given up returns at once, and leaves nothing once libvirtd has done what it
// was asked for before.
func TestLaunchIsGivenUp(t *testing.T) {
	d := daemon.Get(t)
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		t.Run(string(lifetime), func(t *testing.T) {
			b := lifeBackend(t, d)
			spec := lifeSpec(lifetime)
			ctx, cancel := context.WithCancel(lifeWithin(t))
			time.AfterFunc(30*time.Millisecond, cancel) // libvirtd starts QEMU by then
			_, err := b.Launch(ctx, spec)
			cancelled := time.Now()
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, time.Since(cancelled), 30*time.Second)
			require.NoError(t, b.Close(), "waits until it is undone")

			after := lifeBackend(t, d)
			found, err := after.find(lifeWithin(t), spec.ID, spec.Config.Name)
			require.NoError(t, err)
			require.Nil(t, found)
		})
	}
	t.Run("libvirtd hangs", func(t *testing.T) {
		b := lifeBackend(t, d)
		require.NoError(t, b.Check(lifeWithin(t), "", vm.Config{})) // it is connected
		d.Freeze(t)
		ctx, cancel := context.WithTimeout(lifeWithin(t), 50*time.Millisecond)
		defer cancel()
		_, err := b.Launch(ctx, lifeSpec(vm.Persistent))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("the backend is closed", func(t *testing.T) {
		b := lifeBackend(t, d)
		require.NoError(t, b.Close())
		_, err := b.Launch(lifeWithin(t), lifeSpec(vm.Persistent))
		require.ErrorIs(t, err, errors.ErrBackend)
	})
}

// A domain that is not this VM's is never touched.
func TestStrangersAreLeftAlone(t *testing.T) {
	d := daemon.Get(t)
	b, l := lifeBackend(t, d), d.Connect(t)
	spec := lifeSpec(vm.Persistent)
	define := func(name, id string) {
		t.Helper()
		dom, err := l.DomainDefineXML(`<domain type='qemu'><name>` + name + `</name><uuid>` + id + `</uuid>
			<memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>`)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.DomainUndefine(dom)) })
	}
	refused := func(want string) {
		t.Helper()
		_, err := b.Launch(lifeWithin(t), spec)
		require.ErrorIs(t, err, errors.ErrVMAlreadyExists)
		for _, part := range []string{spec.Config.Name, d.Socket(), want} {
			require.ErrorContains(t, err, part)
		}
	}
	t.Run("its name", func(t *testing.T) {
		other := uuid.NewString()
		define(spec.Config.Name, other)
		refused(other)
		require.NoError(t, b.Erase(lifeWithin(t), lifeInstance(spec)))
	})
	t.Run("its UUID", func(t *testing.T) {
		define("stranger", spec.ID)
		refused(spec.ID)
		_, err := b.Attach(lifeWithin(t), lifeInstance(spec))
		require.ErrorIs(t, err, errors.ErrVMNotRunning)
		require.NoError(t, b.Erase(lifeWithin(t), lifeInstance(spec)))
	})
}

// What libvirt or QEMU say is in the error, and nothing is left.
func TestLaunchIsRefused(t *testing.T) {
	d := daemon.Get(t)
	b := lifeBackend(t, d)
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		spec := lifeSpec(lifetime)
		spec.Config.Args = []string{"-device", "no-such-device"}
		_, err := b.Launch(lifeWithin(t), spec)
		require.ErrorIs(t, err, errors.ErrBackend)
		require.ErrorContains(t, err, "'no-such-device' is not a valid device model name")
		require.ErrorContains(t, err, spec.Config.Name)
		found, err := b.find(lifeWithin(t), spec.ID, spec.Config.Name)
		require.NoError(t, err)
		require.Nil(t, found)
	}
}
