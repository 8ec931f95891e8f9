//go:build linux

package libvirt_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// lifeOpen returns a Maqet on a folder, with the backend libvirt.
func lifeOpen(t *testing.T, d *libvirttest.Daemon, dir string) *maqet.Maqet {
	t.Helper()
	m, err := maqet.New(maqet.WithDir(dir), maqet.WithLibvirt(d.URI()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// lifeAdd adds a small VM that is started paused, and never boots.
func lifeAdd(t *testing.T, m *maqet.Maqet, cfg vm.Config) string {
	t.Helper()
	cfg.Backend, cfg.Memory = libvirt.DefaultName, 64*vm.MiB
	inst, err := m.VM.Add(lifeLimit(t), cfg)
	require.NoError(t, err)
	return inst.Name
}

func lifeStart(t *testing.T, m *maqet.Maqet, name string) {
	t.Helper()
	_, err := m.VM.Start(lifeLimit(t), name, vm.StartPaused())
	require.NoError(t, err)
}

// lifeAwait waits for a state, and returns the reason.
func lifeAwait(t *testing.T, m *maqet.Maqet, name string, state vm.State) string {
	t.Helper()
	inst, err := m.VM.Wait(lifeLimit(t), name, state)
	require.NoError(t, err)
	return inst.Reason
}

// lifeAnswers returns when the guest answers again after an outage.
func lifeAnswers(t *testing.T, m *maqet.Maqet, name string) {
	t.Helper()
	ctx := lifeLimit(t)
	_, err := m.QMP.Status(ctx, name)
	for errors.Is(err, errors.ErrHostUnreachable) && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		_, err = m.QMP.Status(ctx, name)
	}
	require.NoError(t, err)
}

func lifeLimit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// virsh does what an operator does.
func virsh(t *testing.T, d *libvirttest.Daemon, args ...string) string {
	t.Helper()
	out, err := exec.Command("virsh", append([]string{"-q", "-c", d.URI()}, args...)...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// lifeOpenShort is lifeOpen for a host that counts as out of reach after a second.
func lifeOpenShort(t *testing.T, d *libvirttest.Daemon, dir string) *maqet.Maqet {
	t.Helper()
	b, err := libvirt.New(libvirt.Options{URI: d.URI(), LogDir: filepath.Join(dir, "vms"), Grace: time.Second, Timeout: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	m, err := maqet.New(maqet.WithDir(dir), maqet.WithBackend(libvirt.DefaultName, b))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}
