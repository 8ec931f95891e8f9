package libvirtrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/digitalocean/go-libvirt"
)

// Procedures (remote_procedure in remote_protocol.x).
const (
	procConnectOpen     = 1
	procSupportsFeature = 60
	procAuthList        = 66
	procAuthPolkit      = 70
)

// Ways to authenticate (remote_auth_type), of which a connection may offer so many at most.
const (
	authNone   = 0
	authPolkit = 2
	maxAuth    = 20
)

// client makes calls on a connection, one after the other.
type client struct {
	conn   net.Conn
	r      *reader
	serial uint32
	// other gets what comes instead of a reply, but pings.
	other func(h header, payload []byte) error
}

// open makes a client of a connection on which nothing was said yet, and has libvirtd open uri on
// it. use, which may make further calls, is part of it. The connection is closed if any of that
// fails or ctx ends first.
func open(ctx context.Context, conn net.Conn, uri string, use func(*client) error) error {
	c := &client{conn: conn, r: newReader(conn), other: unexpected}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := c.handshake(uri)
	if err == nil {
		err = use(c)
	}
	if !stop() { // the deadline has passed, or is about to
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close() // there is an error to tell already
	}
	return err
}

func (c *client) handshake(uri string) error {
	if err := c.authenticate(); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	var args encoder
	args.optional(uri)
	args.uint32(0) // flags
	if _, err := c.call(programRemote, procConnectOpen, args); err != nil {
		return fmt.Errorf("open %s: %w", uri, err)
	}
	return nil
}

// authenticate does it where nothing need be known for it. libvirtd wants to be asked also then.
func (c *client) authenticate() error {
	reply, err := c.call(programRemote, procAuthList, nil)
	if err != nil {
		return err
	}
	d := decoder{rest: reply}
	n := d.uint32()
	if n > maxAuth {
		return malformed("%d ways to authenticate", n)
	}
	offered := make([]uint32, n)
	for i := range offered {
		offered[i] = d.uint32()
	}
	if err := d.end(); err != nil || n == 0 {
		return err
	}
	for _, way := range offered {
		switch way {
		case authNone:
			return nil
		case authPolkit:
			_, err := c.call(programRemote, procAuthPolkit, nil)
			return err
		}
	}
	return errors.New("libvirtd offers neither no authentication nor polkit; set auth_unix_rw, auth_tcp or auth_tls in its libvirtd.conf")
}

// supports asks for a feature (VIR_DRV_FEATURE in libvirt's src/libvirt_internal.h).
func (c *client) supports(feature uint32) (bool, error) {
	var args encoder
	args.uint32(feature)
	reply, err := c.call(programRemote, procSupportsFeature, args)
	if err != nil {
		return false, err
	}
	d := decoder{rest: reply}
	yes := d.uint32() != 0
	return yes, d.end()
}

// call makes a call and returns its result. What libvirtd refuses is a libvirt.Error.
func (c *client) call(program, procedure uint32, args []byte) ([]byte, error) {
	c.serial++
	h := header{program, version, procedure, typeCall, c.serial, statusOK}
	if _, err := c.conn.Write(h.message(args)); err != nil {
		return nil, err
	}
	for {
		got, payload, err := c.r.next()
		if err != nil {
			return nil, err
		}
		if pong := answer(got); pong != nil {
			_, err = c.conn.Write(pong)
		} else if got.kind == typeReply && got.serial == h.serial {
			return result(got, h, payload)
		} else {
			err = c.other(got, payload)
		}
		if err != nil {
			return nil, err
		}
	}
}

// result returns what a reply to a call says.
func result(got, call header, payload []byte) ([]byte, error) {
	switch {
	case got.program != call.program || got.procedure != call.procedure:
		return nil, malformed("a reply of procedure %d of program %#x to %d of %#x",
			got.procedure, got.program, call.procedure, call.program)
	case got.status == statusOK:
		return payload, nil
	case got.status == statusError:
		return nil, decodeError(payload)
	}
	return nil, malformed("a reply with status %d", got.status)
}

func unexpected(h header, _ []byte) error {
	return malformed("an unexpected message: procedure %d of program %#x, type %d, serial %d",
		h.procedure, h.program, h.kind, h.serial)
}

// refused reports whether err is libvirt's own, with one of the codes.
func refused(err error, codes ...libvirt.ErrorNumber) bool {
	var e libvirt.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code == uint32(code) {
			return true
		}
	}
	return false
}
