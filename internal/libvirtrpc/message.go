package libvirtrpc

import (
	"bufio"
	"encoding/binary"
	"io"
)

// Bounds of what a libvirtd can make us keep in memory. libvirt's own bounds are those of
// virnetprotocol.x: 4 MiB for a string, 32 MiB for a message. Nothing that is asked for here has
// more than one long string.
const (
	maxString  = 4 << 20
	maxMessage = maxString + 64<<10
)

// lengthSize and headerSize are what precedes each payload.
const (
	lengthSize = 4
	headerSize = lengthSize + 6*4
)

// Programs, the parts of libvirt's RPC, and their version.
const (
	programRemote    = 0x20008086
	programQEMU      = 0x20008087
	programKeepalive = 0x6b656570
	version          = 1
)

// Types of messages (virNetMessageType).
const (
	typeCall    = 0
	typeReply   = 1
	typeMessage = 2
	typeStream  = 3
)

// Statuses of messages (virNetMessageStatus).
const (
	statusOK       = 0
	statusError    = 1
	statusContinue = 2
)

// header says what a message is.
type header struct {
	program   uint32
	version   uint32
	procedure uint32
	kind      uint32
	serial    uint32
	status    uint32
}

// put writes the header of a message with size bytes of payload into b.
func (h header) put(b []byte, size int) {
	for i, v := range []uint32{uint32(headerSize + size), h.program, h.version, h.procedure, h.kind, h.serial, h.status} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
}

// message returns a whole message.
func (h header) message(payload []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(payload))
	h.put(b, len(payload))
	return append(b, payload...)
}

// parseHeader returns a header, and how long the payload behind it is.
func parseHeader(b []byte) (h header, size int, err error) {
	var n [headerSize / 4]uint32
	for i := range n {
		n[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	if n[0] < headerSize || n[0] > headerSize+maxMessage {
		return h, 0, malformed("a message of %d bytes", n[0])
	}
	return header{n[1], n[2], n[3], n[4], n[5], n[6]}, int(n[0] - headerSize), nil
}

// reader takes messages off a connection. A read that fails by a deadline loses nothing: the next
// one goes on.
type reader struct {
	r    *bufio.Reader
	head header
	body []byte // not nil: of the message that is being read
	have int    // of body
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, 32<<10)} }

// header reads a message's header. The caller reads the payload, or calls next instead.
func (r *reader) header() (header, int, error) {
	b, err := r.r.Peek(headerSize)
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return header{}, 0, err
	}
	h, size, err := parseHeader(b)
	if err == nil {
		_, err = r.r.Discard(headerSize)
	}
	return h, size, err
}

// begin has next read the payload of a message whose header was read.
func (r *reader) begin(h header, size int) { r.head, r.body, r.have = h, make([]byte, size), 0 }

// next reads a whole message. The end between two of them is io.EOF.
func (r *reader) next() (header, []byte, error) {
	if r.body == nil {
		h, size, err := r.header()
		if err != nil {
			return h, nil, err
		}
		r.begin(h, size)
	}
	for r.have < len(r.body) {
		n, err := r.r.Read(r.body[r.have:])
		r.have += n
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return header{}, nil, err
		}
	}
	body := r.body
	r.body = nil
	return r.head, body, nil
}
