package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// NetdevAdd makes the host's side of a NIC.
func NetdevAdd(ctx context.Context, e qmp.Executor, netdev Netdev) error {
	return run(ctx, e, "netdev_add", netdev)
}

// NetdevDel removes the host's side of a NIC, whose link then is down.
func NetdevDel(ctx context.Context, e qmp.Executor, id string) error {
	return run(ctx, e, "netdev_del", idArgs{id})
}

// SetLink plugs or pulls the cable of a NIC, by the id of either side.
func SetLink(ctx context.Context, e qmp.Executor, name string, up bool) error {
	return run(ctx, e, "set_link", struct {
		Name string `json:"name"`
		Up   bool   `json:"up"`
	}{name, up})
}

// QueryRXFilter returns what a NIC's guest lets through, by its id, or of all NICs that
// tell when name is empty.
func QueryRXFilter(ctx context.Context, e qmp.Executor, name string) ([]RxFilterInfo, error) {
	return qmp.Do[[]RxFilterInfo](ctx, e, "query-rx-filter", struct {
		Name string `json:"name,omitempty"`
	}{name})
}

// Netdev describes the host's side of a NIC. What its type has (manual, Netdev) goes to
// Props: for example "hostfwd", "restrict" and "dns" of user, "ifname" and "script" of
// tap, "addr" and "server" of stream, "br" of bridge, "chardev" of vhost-user. Lists of
// strings are []map[string]string{{"str": ...}}.
type Netdev struct {
	Type  NetClientDriver `json:"type"`
	ID    string          `json:"id"`
	Props map[string]any  `json:"-"`
}

type plainNetdev Netdev

// MarshalJSON implements json.Marshaler.
func (n Netdev) MarshalJSON() ([]byte, error) { return marshalProps(plainNetdev(n), n.Props) }

// UnmarshalJSON implements json.Unmarshaler.
func (n *Netdev) UnmarshalJSON(data []byte) error {
	return unmarshalProps(data, (*plainNetdev)(n), &n.Props)
}

// NetClientDriver is a kind of host's side.
type NetClientDriver string

// Values of NetClientDriver.
const (
	NetClientDriverNone         NetClientDriver = "none"
	NetClientDriverNic          NetClientDriver = "nic"
	NetClientDriverUser         NetClientDriver = "user"
	NetClientDriverTap          NetClientDriver = "tap"
	NetClientDriverL2tpv3       NetClientDriver = "l2tpv3"
	NetClientDriverSocket       NetClientDriver = "socket"
	NetClientDriverStream       NetClientDriver = "stream"
	NetClientDriverDgram        NetClientDriver = "dgram"
	NetClientDriverVde          NetClientDriver = "vde"
	NetClientDriverBridge       NetClientDriver = "bridge"
	NetClientDriverHubport      NetClientDriver = "hubport"
	NetClientDriverNetmap       NetClientDriver = "netmap"
	NetClientDriverVhostUser    NetClientDriver = "vhost-user"
	NetClientDriverVhostVdpa    NetClientDriver = "vhost-vdpa"
	NetClientDriverAfXdp        NetClientDriver = "af-xdp" // QEMU 8.2
	NetClientDriverVmnetHost    NetClientDriver = "vmnet-host"
	NetClientDriverVmnetShared  NetClientDriver = "vmnet-shared"
	NetClientDriverVmnetBridged NetClientDriver = "vmnet-bridged"
)

// RxFilterInfo is what a NIC's guest lets through.
type RxFilterInfo struct {
	Name              string   `json:"name"`
	Promiscuous       bool     `json:"promiscuous"`
	Multicast         RxState  `json:"multicast"`
	Unicast           RxState  `json:"unicast"`
	VLAN              RxState  `json:"vlan"`
	BroadcastAllowed  bool     `json:"broadcast-allowed"`
	MulticastOverflow bool     `json:"multicast-overflow"`
	UnicastOverflow   bool     `json:"unicast-overflow"`
	MainMAC           string   `json:"main-mac"`
	VLANTable         []int64  `json:"vlan-table"`
	UnicastTable      []string `json:"unicast-table"`
	MulticastTable    []string `json:"multicast-table"`
}

// RxState is how much of one kind of frames passes.
type RxState string

// Values of RxState.
const (
	RxStateNormal RxState = "normal" // what the table has
	RxStateNone   RxState = "none"
	RxStateAll    RxState = "all"
)
