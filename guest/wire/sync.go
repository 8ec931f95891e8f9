package wire

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// Version is the protocol's version. Both sides state theirs; a host refuses a
// guest that speaks another.
const Version = 1

// The bytes that start each side's half of a session. Neither first byte
// occurs again in its magic, which keeps the scan for it simple.
const (
	syncMagic  = "\xa5maqet host sync"
	helloMagic = "\xa6maqet guest sync"
)

const (
	nonceSize = 16
	seedSize  = 64
	maxSeed   = 256
	maxGreet  = 4 << 10 // size limit of the message behind magic and nonce
)

// ErrPeerGone is what the connection given to [Serve] may return from Read when
// the host has closed its end but may come back: Serve ends the session and
// reads on.
var ErrPeerGone = errors.New("wire: the host has closed its end")

// Sync is what the host says at a session's start.
type Sync struct {
	Version int       // the host's protocol version
	Seed    []byte    // random bytes for the guest's random generator
	Now     time.Time // the host's clock
}

// Hello is the guest's answer to a sync.
type Hello struct {
	Version    int      // the guest's protocol version
	MaxStreams int      // how many operations the guest runs side by side
	Features   []string // names of what this guest's init can do beyond the base
}

// newSync builds the message that starts a session and its nonce.
func newSync(now time.Time) (msg, nonce []byte) {
	nonce = make([]byte, nonceSize)
	rand.Read(nonce) // never fails
	for i := range nonce {
		nonce[i] &= 0x7f // so that no magic starts inside
	}
	e := &encoder{}
	e.uint(Version)
	e.bytes(newSeed())
	e.time(now)
	msg = make([]byte, frameSize, frameSize+256) // zeros that complete any cut frame
	return greeting(msg, syncMagic, nonce, e.b), nonce
}

func newSeed() []byte {
	seed := make([]byte, seedSize)
	rand.Read(seed)
	return seed
}

func greeting(to []byte, magic string, nonce, body []byte) []byte {
	to = append(append(to, magic...), nonce...)
	e := &encoder{b: to}
	e.bytes(body)
	return e.b
}

// readSync skips to the next sync and reads it.
func readSync(br *bufio.Reader) (s Sync, nonce []byte, err error) {
	if err := skipTo(br, syncMagic); err != nil {
		return s, nil, err
	}
	nonce = make([]byte, nonceSize)
	if _, err := io.ReadFull(br, nonce); err != nil {
		return s, nil, err
	}
	body, err := readGreeting(br)
	if err != nil {
		return s, nil, err
	}
	d := &decoder{b: body}
	s = Sync{Version: int(d.uint()), Seed: d.bytes(), Now: d.time()}
	return s, nonce, d.err
}

// newHello builds the answer to a sync.
func newHello(h Hello, nonce []byte) []byte {
	e := &encoder{}
	e.uint(uint64(h.Version))
	e.uint(uint64(h.MaxStreams))
	e.strings(h.Features)
	return greeting(nil, helloMagic, nonce, e.b)
}

// readHello skips to the answer that has the nonce: whatever comes before
// belongs to an earlier session.
func readHello(br *bufio.Reader, nonce []byte) (h Hello, err error) {
	if err := skipTo(br, helloMagic+string(nonce)); err != nil {
		return h, err
	}
	body, err := readGreeting(br)
	if err != nil {
		return h, err
	}
	d := &decoder{b: body}
	h = Hello{Version: int(d.uint()), MaxStreams: int(d.uint()), Features: d.strings()}
	if d.err != nil {
		return h, d.err
	}
	if h.Version != Version || h.MaxStreams < 1 {
		return h, fmt.Errorf("%w: the guest speaks version %d with %d streams, this host version %d",
			ErrProtocol, h.Version, h.MaxStreams, Version)
	}
	return h, nil
}

func readGreeting(br *bufio.Reader) ([]byte, error) {
	n := uint64(0)
	for shift := 0; ; shift += 7 {
		b, err := br.ReadByte()
		if err != nil {
			return nil, err
		}
		n |= uint64(b&0x7f) << shift
		if n > maxGreet || shift > 14 {
			return nil, fmt.Errorf("%w: greeting is too long", ErrProtocol)
		}
		if b < 0x80 {
			break
		}
	}
	body := make([]byte, n)
	_, err := io.ReadFull(br, body)
	return body, err
}

// skipBuffered drops buffered bytes up to the first c.
func skipBuffered(br *bufio.Reader, c byte) error {
	p, err := br.Peek(br.Buffered())
	if err != nil {
		return err
	}
	n := bytes.IndexByte(p, c)
	if n < 0 {
		n = len(p)
	}
	_, err = br.Discard(n)
	return err
}

// skipTo reads until it has consumed the magic.
func skipTo(br *bufio.Reader, magic string) error {
	matched := 0
	for matched < len(magic) {
		b, err := br.ReadByte()
		switch {
		case err != nil:
			return err
		case b == magic[matched]:
			matched++
		case b == magic[0]:
			matched = 1
		default:
			matched = 0
			if err := skipBuffered(br, magic[0]); err != nil {
				return err
			}
		}
	}
	return nil
}
