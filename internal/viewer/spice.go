package viewer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"fmt"
)

// Parts of the Spice protocol (spice-protocol, spice/protocol.h).
const (
	spiceMagic       = "REDQ"
	spiceKeySize     = 162 // of the server's public key, in bytes
	spiceMainChannel = 1
	spicePermission  = 7 // SPICE_LINK_ERR_PERMISSION_DENIED
)

// spiceHeader precedes the client's and the server's first message.
type spiceHeader struct {
	Magic        [4]byte
	Major, Minor uint32
	Size         uint32 // of what follows
}

// spiceLink is the client's first message, which asks for the main channel.
type spiceLink struct {
	Connection    uint32
	Channel, ID   uint8
	Common, Caps  uint32 // how many capabilities there are
	CapabilitesAt uint32
}

// Spice logs in at a Spice server that listens on a unix socket.
func Spice(ctx context.Context, socket, password string) error {
	return within(ctx, socket, func(s *session) {
		link := spiceLink{Channel: spiceMainChannel}
		link.CapabilitesAt = uint32(binary.Size(link))
		header := spiceHeader{Major: 2, Minor: 2, Size: link.CapabilitesAt}
		copy(header.Magic[:], spiceMagic)
		var hello bytes.Buffer
		for _, part := range []any{header, link} {
			if s.err = binary.Write(&hello, binary.LittleEndian, part); s.err != nil {
				return
			}
		}
		s.write(hello.Bytes())
		if _, s.err = binary.Decode(s.read(binary.Size(header)), binary.LittleEndian, &header); s.err != nil {
			return
		}
		reply := s.read(int(min(header.Size, 4096)))
		if s.err == nil && (string(header.Magic[:]) != spiceMagic || len(reply) < 4+spiceKeySize) {
			s.err = fmt.Errorf("no answer of Spice: %q", reply)
		}
		if s.err != nil {
			return
		}
		s.ticket(reply[4:4+spiceKeySize], password)
	})
}

// ticket sends the password, encrypted for the server's key, and reads what it makes of it.
func (s *session) ticket(key []byte, password string) {
	parsed, err := x509.ParsePKIXPublicKey(key)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		s.err = fmt.Errorf("the server's key is a %T: %w", parsed, err)
		return
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, append([]byte(password), 0), nil)
	if err != nil {
		s.err = err
		return
	}
	s.write(sealed)
	switch result := binary.LittleEndian.Uint32(s.read(4)); {
	case s.err != nil, result == 0:
	case result == spicePermission:
		s.err = ErrRefused
	default:
		s.err = fmt.Errorf("the server answers with error %d", result)
	}
}
