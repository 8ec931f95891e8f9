package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	marker     = 0xA7
	trailer    = 0x7A
	headerSize = 12
	frameSize  = 64 << 10
	smallFrame = 256

	// MaxPayload is the largest payload of one frame in bytes; with header and
	// trailer it makes 64 KiB.
	MaxPayload = frameSize - headerSize - 1
	// Window is how many bytes a pipe may have on their way, in bytes: what one
	// side buffers for the other at most.
	Window = 256 << 10
)

// ErrProtocol is matched by every error that means the peer broke the
// protocol's rules.
var ErrProtocol = errors.New("wire: protocol violation")

type frameType uint8

const (
	frameOpen   frameType = iota + 1 // host: starts a stream; payload: operation and arguments
	frameData                        // bytes of a pipe
	frameEOF                         // a pipe has no more bytes
	frameCredit                      // a pipe's reader takes so many bytes more
	frameCancel                      // host: stop the stream
	frameDone                        // guest: the stream's result, its last frame
	frameBye                         // guest: the session is over; payload: why
	frameLast   = frameBye
)

type header struct {
	typ    frameType
	pipe   uint8
	stream uint32
	length int
}

// readHeader reads and checks the next frame's header.
func readHeader(br *bufio.Reader) (header, error) {
	b, err := br.Peek(headerSize)
	if len(b) > 0 && b[0] != marker {
		return header{}, fmt.Errorf("%w: frame starts with %#x", ErrProtocol, b[0])
	}
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return header{}, err
	}
	_, err = br.Discard(headerSize)
	return h, err
}

func parseHeader(b []byte) (header, error) {
	length := binary.LittleEndian.Uint32(b[8:])
	h := header{typ: frameType(b[1]), pipe: b[2], stream: binary.LittleEndian.Uint32(b[4:]), length: int(length)}
	switch {
	case b[0] != marker || b[3] != 0:
		return h, fmt.Errorf("%w: bad frame header % x", ErrProtocol, b[:headerSize])
	case h.typ == 0 || h.typ > frameLast:
		return h, fmt.Errorf("%w: unknown frame type %d", ErrProtocol, h.typ)
	case h.pipe > 1:
		return h, fmt.Errorf("%w: unknown pipe %d", ErrProtocol, h.pipe)
	case length > MaxPayload:
		return h, fmt.Errorf("%w: frame of %d bytes, at most %d are allowed", ErrProtocol, length, MaxPayload)
	}
	return h, nil
}

// readTrailer ends a frame. It is what proves that a payload is whole: a sync
// that follows a frame cut short completes it with zeros.
func readTrailer(br *bufio.Reader) error {
	b, err := br.ReadByte()
	if err != nil {
		return err
	}
	if b != trailer {
		return fmt.Errorf("%w: a frame was cut short", ErrProtocol)
	}
	return nil
}

// readPayload reads a control frame's payload and trailer.
func readPayload(br *bufio.Reader, n int) ([]byte, error) {
	p := make([]byte, n)
	if _, err := io.ReadFull(br, p); err != nil {
		return nil, err
	}
	return p, readTrailer(br)
}

// discard skips a frame's payload and trailer.
func discard(br *bufio.Reader, n int) error {
	if _, err := br.Discard(n); err != nil {
		return err
	}
	return readTrailer(br)
}

// frame is one outgoing frame in one piece, so that it leaves in one write.
type frame struct {
	buf []byte // header, payload so far; cap is the whole frame's limit
}

var (
	smallFrames = sync.Pool{New: func() any { return &frame{buf: make([]byte, headerSize, smallFrame)} }}
	largeFrames = sync.Pool{New: func() any { return &frame{buf: make([]byte, headerSize, frameSize)} }}
)

// newFrame returns an empty frame with room for a payload of n bytes.
func newFrame(n int) *frame {
	if n <= smallFrame-headerSize-1 {
		return smallFrames.Get().(*frame)
	}
	return largeFrames.Get().(*frame)
}

func (f *frame) release() {
	f.buf = f.buf[:headerSize]
	if cap(f.buf) == smallFrame {
		smallFrames.Put(f)
		return
	}
	largeFrames.Put(f)
}

func (f *frame) payload() []byte { return f.buf[headerSize:] }

// space is the unused room for payload.
func (f *frame) space() []byte { return f.buf[len(f.buf) : cap(f.buf)-1] }

// extend adds n bytes that were put into space to the payload.
func (f *frame) extend(n int) { f.buf = f.buf[:len(f.buf)+n] }

// seal writes header and trailer.
func (f *frame) seal(t frameType, pipe uint8, stream uint32) {
	n := len(f.buf) - headerSize
	f.buf[0], f.buf[1], f.buf[2], f.buf[3] = marker, byte(t), pipe, 0
	binary.LittleEndian.PutUint32(f.buf[4:], stream)
	binary.LittleEndian.PutUint32(f.buf[8:], uint32(n))
	f.buf = append(f.buf, trailer)
}

// controlFrame builds a sealed frame with a payload of at most MaxPayload bytes.
func controlFrame(t frameType, pipe uint8, stream uint32, payload []byte) *frame {
	f := newFrame(len(payload))
	f.buf = append(f.buf, payload...)
	f.seal(t, pipe, stream)
	return f
}
