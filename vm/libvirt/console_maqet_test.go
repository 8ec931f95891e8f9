//go:build linux

package libvirt_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// The console of a guest on libvirt is read, typed into and searched for panics like every other.
func TestConsoleOfMachine(t *testing.T) {
	m := lifeOpen(t, libvirt.SharedDaemon().Get(t), t.TempDir())
	g, err := m.Run(lifeLimit(t), vm.Config{Backend: libvirt.DefaultName})
	require.NoError(t, err)
	c, err := g.Console()
	require.NoError(t, err)
	_, err = c.ExpectText(lifeLimit(t), "maqet-init: ready")
	require.NoError(t, err)
	require.NoError(t, c.Send(lifeLimit(t), "echo typed-$((40+2))\n"))
	_, err = c.ExpectText(lifeLimit(t), "typed-42")
	require.NoError(t, err)

	all, err := c.Follow(lifeLimit(t))
	require.NoError(t, err)
	defer all.Close()
	require.NoError(t, c.Send(lifeLimit(t), "echo c > /proc/sysrq-trigger\n"))
	require.Equal(t, vm.ReasonGuestPanic, lifeAwait(t, m, g.Name(), vm.Failed))
	text, err := io.ReadAll(all)
	require.NoError(t, err)
	require.Contains(t, string(text), "Kernel panic - not syncing")
}
