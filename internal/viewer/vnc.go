package viewer

import (
	"context"
	"crypto/des"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Kinds of security (RFC 6143, section 7.1.2).
const (
	securityNone     = 1
	securityPassword = 2
)

// VNC logs in at a VNC server that listens on a unix socket; without a password only where
// none is asked for. The screen that it is then told of has to be of some size.
func VNC(ctx context.Context, socket, password string) error {
	return within(ctx, socket, func(s *session) {
		s.read(12) // the server's version
		s.write([]byte("RFB 003.008\n"))
		kinds := s.read(int(s.read(1)[0]))
		switch {
		case s.err != nil:
			return
		case len(kinds) == 0: // a reason follows: it wants nobody
			s.err = ErrRefused
			return
		case slices.Contains(kinds, securityNone):
			s.write([]byte{securityNone})
		case password == "":
			s.err = ErrRefused
			return
		default:
			s.write([]byte{securityPassword})
			s.write(answer(s.read(16), password))
		}
		if result := binary.BigEndian.Uint32(s.read(4)); s.err == nil && result != 0 {
			s.err = ErrRefused
		}
		s.write([]byte{1}) // the screen is shared
		size := s.read(24)
		if w, h := binary.BigEndian.Uint16(size), binary.BigEndian.Uint16(size[2:]); s.err == nil && (w < 100 || h < 100) {
			s.err = fmt.Errorf("a screen of %d x %d pixels", w, h)
		}
	})
}

// answer encrypts a challenge with the password, whose bytes the protocol turns round (RFC
// 6143, section 7.2.2).
func answer(challenge []byte, password string) []byte {
	key := make([]byte, 8)
	copy(key, password)
	for i := range key {
		key[i] = bits.Reverse8(key[i])
	}
	out := make([]byte, len(challenge))
	block, err := des.NewCipher(key)
	if err != nil { // only for another length of the key
		return out
	}
	for i := 0; i+8 <= len(challenge); i += 8 {
		block.Encrypt(out[i:], challenge[i:])
	}
	return out
}
