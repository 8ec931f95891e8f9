package process

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPortsOf: a network card of the user's own on a datagram socket is on no segment of
// maqet's, which would run a switch in the user's folder.
func TestPortsOf(t *testing.T) {
	const own = `{"type":"dgram","id":"x","local":{"type":"unix","path":"/home/ann/net/a"},"remote":{"type":"unix","path":"/home/ann/net/b"}}`
	const port = `{"type":"dgram","id":"net0","local":{"type":"unix","path":"/run/maqet/s/1.0.port"},"remote":{"type":"unix","path":"/run/maqet/s/switch.sock"}}`
	require.Equal(t, []string{"/run/maqet/s/1.0.port"}, portsOf([]string{"qemu", "-netdev", own, "-netdev", port, "-netdev", "user,id=u", "-netdev"}))
}
