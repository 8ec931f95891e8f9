package libvirt

import (
	"net"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

var errEnded = errors.New("its guest has ended")

func newAgentConn(*host, libvirt.Domain, string, <-chan struct{}) net.Conn {
	a, b := net.Pipe()
	_ = b.Close()
	return a
}
