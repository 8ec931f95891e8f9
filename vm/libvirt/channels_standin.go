package libvirt

import (
	"net"

	"github.com/digitalocean/go-libvirt"
)

func newAgentConn(*host, libvirt.Domain, string, <-chan struct{}) net.Conn {
	a, b := net.Pipe()
	_ = b.Close()
	return a
}
