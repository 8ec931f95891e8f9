package qapi

import "encoding/json"

// SocketAddress is an address to listen on or to connect to. Which of the members have
// a meaning depends on Type.
type SocketAddress struct {
	Type      SocketAddressType `json:"type"`
	Host      string            `json:"host,omitempty"`    // of inet
	Port      string            `json:"port,omitempty"`    // of inet: a number or a service's name; of vsock: a number
	Numeric   bool              `json:"numeric,omitempty"` // of inet: Host and Port are numbers, nothing is looked up
	To        uint16            `json:"to,omitempty"`      // of inet: the last port to try to listen on
	IPv4      *bool             `json:"ipv4,omitempty"`    // of inet: nil: as the host has it
	IPv6      *bool             `json:"ipv6,omitempty"`    // of inet: nil: as the host has it
	KeepAlive bool              `json:"keep-alive,omitempty"`
	MPTCP     bool              `json:"mptcp,omitempty"`
	Path      string            `json:"path,omitempty"`     // of unix
	Abstract  bool              `json:"abstract,omitempty"` // of unix: not a file (Linux)
	Tight     *bool             `json:"tight,omitempty"`    // of unix: the abstract name has no padding; default: true
	CID       string            `json:"cid,omitempty"`      // of vsock
	Str       string            `json:"str,omitempty"`      // of fd: a name given with getfd, or a number
}

// SocketAddressType is a kind of address.
type SocketAddressType string

// Values of SocketAddressType.
const (
	SocketAddressTypeInet  SocketAddressType = "inet"
	SocketAddressTypeUnix  SocketAddressType = "unix"
	SocketAddressTypeVsock SocketAddressType = "vsock" // between a host and its VMs
	SocketAddressTypeFD    SocketAddressType = "fd"    // a socket that QEMU has open
)

// SocketAddressLegacy is a [SocketAddress] for the older commands, which want it in
// another form.
type SocketAddressLegacy SocketAddress

// MarshalJSON implements json.Marshaler.
func (a SocketAddressLegacy) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Type SocketAddressType `json:"type"`
		Data socketAddressData `json:"data"`
	}{a.Type, socketAddressData{SocketAddress: SocketAddress(a)}})
}

// socketAddressData is a SocketAddress without its type.
type socketAddressData struct {
	SocketAddress
	Type string `json:"type,omitempty"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *SocketAddressLegacy) UnmarshalJSON(data []byte) error {
	var wire struct {
		Type SocketAddressType `json:"type"`
		Data SocketAddress     `json:"data"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	wire.Data.Type = wire.Type
	*a = SocketAddressLegacy(wire.Data)
	return nil
}
