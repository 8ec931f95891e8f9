//go:build linux

package libvirt_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// A guest on libvirt is what one of a QEMU process is: it boots, works, pauses and stops.
func TestBootedGuest(t *testing.T) {
	d := libvirt.SharedDaemon().Get(t)
	m := lifeOpen(t, d, t.TempDir())
	g, err := m.Run(lifeLimit(t), vm.Config{Backend: libvirt.DefaultName, Lifetime: vm.Persistent})
	require.NoError(t, err)
	res, err := g.Exec(lifeLimit(t), "uname", "-n")
	require.NoError(t, err)
	require.Contains(t, string(res.Stdout), g.Name())

	d.Kill(t)
	d.Restart(t)
	lifeAnswers(t, m, g.Name())
	_, err = g.Exec(lifeLimit(t), "true")
	require.NoError(t, err)

	require.NoError(t, g.Pause(lifeLimit(t)))
	require.NoError(t, g.Resume(lifeLimit(t)))
	report, err := g.Stop(lifeLimit(t), vm.StopTimeout(2*time.Minute))
	require.NoError(t, err)
	require.Equal(t, "agent", report.Step, "%+v", report)
	require.True(t, report.Graceful)

	require.NoError(t, g.Start(lifeLimit(t)))
	live, err := m.VM.Live(lifeLimit(t), g.Name())
	require.NoError(t, err)
	acpi := live.Ladder()[1]
	require.Equal(t, "acpi", acpi.Name)
	require.NoError(t, acpi.Run(lifeLimit(t)))
	<-live.Done()
	require.Equal(t, vm.ReasonGuestShutdown, lifeAwait(t, m, g.Name(), vm.Stopped))
	require.NoError(t, g.Remove(lifeLimit(t)))
	require.NotContains(t, virsh(t, d, "list", "--all", "--name"), g.Name())
}
