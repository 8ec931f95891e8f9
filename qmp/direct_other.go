//go:build !unix

package qmp

import "net"

// directWriter can't be had here: whoever executes a command hands it to the writer.
type directWriter struct{}

func newDirectWriter(net.Conn, stepFunc) *directWriter { return nil }

func (*directWriter) run(bool) (bool, error) { return false, nil }
