//go:build !unix

package qmp

import (
	"errors"
	"net"
	"os"
)

func fileRights(net.Conn, []*os.File) ([]byte, func(), error) {
	return nil, nil, errors.ErrUnsupported
}

func writeRights(net.Conn, []byte, []byte) (int, error) { return 0, errors.ErrUnsupported }
