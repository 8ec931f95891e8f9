//go:build !unix

package qmp

import (
	"errors"
	"net"
	"os"
)

// passedFiles can't be had here.
type passedFiles struct{}

func passFiles(net.Conn, bool, []*os.File) (*passedFiles, error) { return nil, errors.ErrUnsupported }

func (*passedFiles) close() {}
