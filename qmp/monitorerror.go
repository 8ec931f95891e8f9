package qmp

import (
	"encoding/json"
	"io"
	"net"
	"syscall"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// failed sorts what a monitor's Run returned as an error: QEMU's answer, or the reason
// why there is none.
func (c *monitorConn) failed(err error) error {
	if lostConnection(err) {
		return c.End(err)
	}
	var e libvirt.Error
	if !errors.As(err, &e) {
		// Both monitors of go-qemu keep nothing but the description of QEMU's errors.
		return &errors.QMPError{Class: "GenericError", Desc: err.Error()}
	}
	switch libvirt.ErrorNumber(e.Code) {
	case libvirt.ErrNoDomain, libvirt.ErrOperationInvalid, libvirt.ErrSystemError:
		// The domain is gone, or not running, or libvirt has lost its monitor, which
		// makes it end the domain. A later domain of that name is another QEMU.
		return c.End(err)
	case libvirt.ErrOperationTimeout: // something else had the domain for too long
		return errors.Wrap(errors.ErrQMPTimeout, "", "", err)
	}
	return err
}

// lostConnection tells errors of the transport from those of a command. go-qemu's
// socket monitor reports a closed connection as incomplete JSON.
func lostConnection(err error) bool {
	var network net.Error
	var incomplete *json.SyntaxError
	var system syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, libvirt.ErrInterrupted) ||
		errors.As(err, &network) || errors.As(err, &incomplete) || errors.As(err, &system)
}
