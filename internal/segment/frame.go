//go:build linux

package segment

// headerSize is that of an Ethernet header: two addresses and a type.
const headerSize = 14

// address is an Ethernet address.
type address [6]byte

// group reports whether it is a multicast or the broadcast address: the lowest bit of
// the first byte (IEEE 802, section 8).
func (a address) group() bool { return a[0]&1 == 1 }

// frame is an Ethernet frame.
type frame struct {
	destination, source address
	data                []byte // all of it
}

// parse reads a frame. It is false for what a switch must not pass on: a piece without a
// whole header, one that is too long, and one from a group address.
func parse(data []byte) (f frame, ok bool) {
	if len(data) < headerSize || len(data) > maxFrame {
		return frame{}, false
	}
	f.data = data
	copy(f.destination[:], data)
	copy(f.source[:], data[len(f.destination):])
	return f, !f.source.group() && f.source != address{}
}
