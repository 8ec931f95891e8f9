//go:build !unix

package qmptest

import (
	"errors"
	"net"
	"os"
)

func rightsBuffer() []byte { return nil }

func readFiles(nc net.Conn, buf, _ []byte) (int, []*os.File, error) {
	n, err := nc.Read(buf)
	return n, nil, err
}

func socketPair() (ours, theirs net.Conn, err error) { return nil, nil, errors.ErrUnsupported }
