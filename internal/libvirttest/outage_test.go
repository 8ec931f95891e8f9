//go:build linux

package libvirttest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/proc"
)

func TestOutages(t *testing.T) {
	d := Start(t)
	startGuest(t, d, "lasting")
	qemu, before := d.Process(t, "lasting"), d.Libvirtd(t).ID()

	t.Run("killed", func(t *testing.T) {
		conn := d.Connect(t)
		d.Kill(t)
		<-conn.Disconnected()
		_, err := d.Dial()
		require.Error(t, err)
		require.True(t, proc.Alive(qemu.ID()))
		require.False(t, proc.Alive(before))
	})
	require.NotEqual(t, before, d.Libvirtd(t).ID(), "started again when the test ended")
	require.Len(t, domains(t, d), 1)
	require.Equal(t, qemu.ID(), d.Process(t, "lasting").ID())

	t.Run("killed again", func(t *testing.T) {
		d.Kill(t)
		d.Restart(t)
		require.Len(t, domains(t, d), 1)
	})
	t.Run("hidden", func(t *testing.T) {
		conn := d.Connect(t)
		d.Hide(t)
		_, err := conn.ConnectGetUri()
		require.NoError(t, err)
		_, err = d.Dial()
		require.Error(t, err)
		d.Show(t)
		d.Connect(t)
	})
	t.Run("frozen", func(t *testing.T) {
		conn := d.Connect(t)
		d.Freeze(t)
		answered := make(chan error, 1)
		go func() {
			_, err := conn.ConnectGetUri()
			answered <- err
		}()
		select {
		case <-answered:
			require.Fail(t, "it answers")
		case <-time.After(50 * time.Millisecond):
		}
		d.Thaw(t)
		require.NoError(t, <-answered)
	})
	d.Kill(t)
	require.NoError(t, d.Stop())
	require.False(t, proc.Alive(qemu.ID()), "a guest whose libvirtd is dead ends with the daemon")
	require.NoDirExists(t, string(d.tree))
}
