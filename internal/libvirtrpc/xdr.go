package libvirtrpc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/digitalocean/go-libvirt"
)

// ErrProtocol says that what came is not libvirt's RPC, or breaks a bound. Nothing more can be
// read from the connection.
var ErrProtocol = errors.New("the answer is not libvirt's protocol")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// encoder appends values in XDR.
type encoder []byte

func (e *encoder) uint32(v uint32) { *e = binary.BigEndian.AppendUint32(*e, v) }

func (e *encoder) string(s string) {
	e.uint32(uint32(len(s)))
	*e = append(*e, s...)
	*e = append(*e, make([]byte, padding(len(s)))...)
}

// optional appends a string that can be missing; an empty one is.
func (e *encoder) optional(s string) {
	if s == "" {
		e.uint32(0)
		return
	}
	e.uint32(1)
	e.string(s)
}

func (e *encoder) domain(d libvirt.Domain) {
	e.string(d.Name)
	*e = append(*e, d.UUID[:]...)
	e.uint32(uint32(d.ID))
}

// padding is what follows n bytes in XDR, whose items are multiples of four.
func padding(n int) int { return -n & 3 }

// decoder takes values off a payload. After an error, which stays, all values are zero.
type decoder struct {
	rest []byte
	err  error
}

// take returns the next n bytes, which are the payload's own; nil if there are not so many.
func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.rest) {
		d.err = malformed("%d bytes where %d are needed", len(d.rest), n)
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) int32() int32 { return int32(d.uint32()) }

func (d *decoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *decoder) bytes() []byte {
	n := d.uint32()
	if n > maxString {
		d.err = malformed("a string of %d bytes", n)
		return nil
	}
	b := d.take(int(n))
	d.take(padding(int(n)))
	return b
}

func (d *decoder) string() string { return string(d.bytes()) }

// present takes the flag before a value that can be missing.
func (d *decoder) present() bool {
	v := d.uint32()
	if v > 1 {
		d.err = malformed("%d where 0 or 1 says whether a value follows", v)
	}
	return v == 1 && d.err == nil
}

// optional takes a string that can be missing: then it is nil.
func (d *decoder) optional() []byte {
	if !d.present() {
		return nil
	}
	return d.bytes()
}

func (d *decoder) domain() libvirt.Domain {
	name, uuid := d.string(), d.uuid()
	return libvirt.Domain{Name: name, UUID: uuid, ID: d.int32()}
}

func (d *decoder) uuid() (id libvirt.UUID) {
	copy(id[:], d.take(len(id)))
	return id
}

// end returns the error of all that was taken, which is one also if anything is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.err = malformed("%d bytes too many", len(d.rest))
	}
	return d.err
}

// decodeError decodes a virNetMessageError, as a libvirt.Error. Of its many parts only those two
// have a meaning for clients.
func decodeError(payload []byte) error {
	d := decoder{rest: payload}
	code := d.uint32()
	d.uint32() // in which part of libvirt
	message := string(d.optional())
	d.uint32() // level
	if d.present() {
		d.domain()
	}
	for range 3 {
		d.optional()
	}
	d.uint32()
	d.uint32()
	if d.present() { // a network
		_ = d.string()
		d.uuid()
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("an error message: %w", err)
	}
	return libvirt.Error{Code: code, Message: message}
}
