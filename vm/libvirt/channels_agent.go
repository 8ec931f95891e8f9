package libvirt

import (
	"context"
	"net"

	"github.com/maqet/maqet/internal/libvirtrpc"
)

// openAgent returns a connection to the guest's agent, whose channel libvirt has itself.
func (c *channels) openAgent(ctx context.Context) (net.Conn, error) {
	changed, err := c.b.events.subscribe(ctx, c.vm, c.dom.UUID, 0, libvirtrpc.KindAgent)
	if err != nil {
		return nil, err
	}
	return &agentChannel{newAgentConn(c.b.host, c.dom, c.vm, changed.gap), changed}, nil
}

// agentChannel ends the subscription with the connection.
type agentChannel struct {
	net.Conn
	changed *subscription
}

// Close implements net.Conn.
func (c *agentChannel) Close() error {
	c.changed.close()
	return c.Conn.Close()
}
