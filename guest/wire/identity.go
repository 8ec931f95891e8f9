package wire

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// Identity is what a guest gets that continues from a state which others continue from as
// well. What is empty stays as it is.
type Identity struct {
	Seed      []byte    // random bytes for the guest's random generator, at most 256
	Now       time.Time // the host's clock
	Hostname  string
	MachineID string // see machine-id(5)
	Cards     []Card
}

// Card is a network card that gets another address.
type Card struct {
	From, MAC [6]byte      // the one that the guest knows, and the new one
	Address   netip.Prefix // the new IPv4 address in place of the old one; invalid: none
	Shared    bool         // others on its network may have the old MAC: nothing of it is to stay
}

// maxCards bounds what a message can have a decoder make room for.
const maxCards = 256

// Fresh returns the identity with new random bytes and the present time.
func (i Identity) Fresh() Identity {
	i.Seed, i.Now = newSeed(), time.Now()
	return i
}

// Encode returns the identity as it travels.
func (i Identity) Encode() []byte {
	e := &encoder{}
	e.bytes(i.Seed)
	e.time(i.Now)
	e.string(i.Hostname)
	e.string(i.MachineID)
	e.uint(uint64(len(i.Cards)))
	for _, c := range i.Cards {
		e.b = append(append(e.b, c.From[:]...), c.MAC[:]...)
		address, bits := []byte(nil), 0
		if c.Address.IsValid() {
			address, bits = c.Address.Addr().AsSlice(), c.Address.Bits()
		}
		e.bytes(address)
		e.byte(byte(bits))
		e.bool(c.Shared)
	}
	return e.b
}

// DecodeIdentity is the inverse of Encode. A message that can't be one is [ErrProtocol].
func DecodeIdentity(b []byte) (Identity, error) {
	d := &decoder{b: b}
	id := decodeIdentity(d)
	return id, d.err
}

func decodeIdentity(d *decoder) Identity {
	id := Identity{Seed: d.bytes(), Now: d.time(), Hostname: d.string(), MachineID: d.string()}
	n := d.uint()
	if n > maxCards || len(id.Seed) > maxSeed {
		d.fail()
		return id
	}
	for range n {
		var c Card
		d.copy(c.From[:])
		d.copy(c.MAC[:])
		ip, bits := d.bytes(), d.byte()
		c.Shared = d.byte() != 0
		if addr, ok := netip.AddrFromSlice(ip); ok {
			c.Address = netip.PrefixFrom(addr, int(bits))
		} else if len(ip) > 0 {
			d.fail()
		}
		id.Cards = append(id.Cards, c)
	}
	return id
}

// Individualize gives the guest an identity of its own: first its random generator is
// reseeded and its clock set, then come its names, then its network cards. What fails does
// not keep it from the rest: the error, a [RemoteError], names all that is not done.
func (s *Session) Individualize(ctx context.Context, id Identity) error {
	if len(id.Seed) > maxSeed || len(id.Cards) > maxCards {
		return fmt.Errorf("wire: individualize with %d random bytes and %d cards, at most %d and %d are possible",
			len(id.Seed), len(id.Cards), maxSeed, maxCards)
	}
	_, err := s.do(ctx, request{op: opIndividualize, args: id.Encode()})
	return err
}
