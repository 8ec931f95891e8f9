package libvirtrpc

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/digitalocean/go-libvirt"
)

const procVolumeUpload = 208

// Upload writes all of src to a storage volume, from its beginning. conn must be a new connection
// to libvirtd, which is closed in the end; uri is the driver's, such as "qemu:///system". It
// returns when libvirtd has all of it, and at once when ctx ends: then, and when src fails, the
// volume has got a part.
//
// go-libvirt's StorageVolUpload can't be aborted, and leaves goroutines behind when the connection
// ends first.
func Upload(ctx context.Context, conn net.Conn, uri string, vol libvirt.StorageVol, src io.Reader) error {
	defer func() { _ = conn.Close() }() // what libvirtd has said counts
	return open(ctx, conn, uri, func(c *client) error {
		var args encoder
		args.string(vol.Pool)
		args.string(vol.Name)
		args.string(vol.Key)
		args.uint64(0) // offset
		args.uint64(0) // length: as much as there is
		args.uint32(0) // flags
		if _, err := c.call(programRemote, procVolumeUpload, args); err != nil {
			return err
		}
		return c.upload(src)
	})
}

// upload sends data for the call that was made last. libvirtd can refuse them at any time, and
// says that it has all of them when it was told that there are no more.
func (c *client) upload(src io.Reader) error {
	head := header{programRemote, version, procVolumeUpload, typeStream, c.serial, statusContinue}
	told := make(chan error, 1)
	go func() {
		told <- c.outcome(head)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0)) // nothing more is of use
	}()
	sent := send(c.conn, head, src)
	if sent != nil {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // what it has said by now is read yet
	}
	if err := <-told; err != nil && (sent == nil || refused(err)) {
		return err
	}
	return sent
}

func send(to io.Writer, head header, src io.Reader) error {
	message := make([]byte, headerSize+maxChunk)
	for {
		n, err := io.ReadFull(src, message[headerSize:])
		if n > 0 {
			head.put(message, n)
			if _, err := to.Write(message[:headerSize+n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			head.status = statusOK
			_, err := to.Write(head.message(nil))
			return err
		default:
			return err
		}
	}
}

// outcome waits for what libvirtd says of a stream in the end.
func (c *client) outcome(head header) error {
	for {
		h, payload, err := c.r.next()
		switch {
		case err != nil:
			return err
		case answer(h) != nil: // we never said that we answer
		case h.serial != head.serial || h.procedure != head.procedure || h.program != head.program:
			return unexpected(h, payload)
		case h.status == statusError:
			return decodeError(payload)
		case h.status == statusOK:
			return nil
		}
	}
}

func (e *encoder) uint64(v uint64) {
	e.uint32(uint32(v >> 32))
	e.uint32(uint32(v))
}
