package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// BlockExportAdd makes a block node reachable from outside.
func BlockExportAdd(ctx context.Context, e qmp.Executor, args BlockExportOptions) error {
	return run(ctx, e, "block-export-add", args)
}

// BlockExportDel asks an export to end; [BlockExportDeletedEvent] says that it has. An
// empty mode is safe.
func BlockExportDel(ctx context.Context, e qmp.Executor, id string, mode BlockExportRemoveMode) error {
	return run(ctx, e, "block-export-del", struct {
		ID   string                `json:"id"`
		Mode BlockExportRemoveMode `json:"mode,omitempty"`
	}{id, mode})
}

// QueryBlockExports lists the exports.
func QueryBlockExports(ctx context.Context, e qmp.Executor) ([]BlockExportInfo, error) {
	return qmp.Do[[]BlockExportInfo](ctx, e, "query-block-exports", nil)
}

// NBDServerStart starts the NBD server of this QEMU; it can have one.
func NBDServerStart(ctx context.Context, e qmp.Executor, args NbdServerOptionsLegacy) error {
	return run(ctx, e, "nbd-server-start", args)
}

// NBDServerStop stops the NBD server and ends its exports.
func NBDServerStop(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "nbd-server-stop", nil)
}

// NBDServerAdd exports a device or node through the NBD server.
func NBDServerAdd(ctx context.Context, e qmp.Executor, args NbdServerAddOptions) error {
	return run(ctx, e, "nbd-server-add", args)
}

// NBDServerRemove ends an export of the NBD server by its name. An empty mode is safe.
func NBDServerRemove(ctx context.Context, e qmp.Executor, name string, mode BlockExportRemoveMode) error {
	return run(ctx, e, "nbd-server-remove", struct {
		Name string                `json:"name"`
		Mode BlockExportRemoveMode `json:"mode,omitempty"`
	}{name, mode})
}

// BlockExportOptions describes an export. Which of the members have a meaning depends
// on Type.
type BlockExportOptions struct {
	Type          BlockExportType `json:"type"`
	ID            string          `json:"id"`
	FixedIothread bool            `json:"fixed-iothread,omitempty"`
	Iothread      string          `json:"iothread,omitempty"` // runs in this I/O thread
	NodeName      string          `json:"node-name"`
	Writable      bool            `json:"writable,omitempty"`
	Writethrough  bool            `json:"writethrough,omitempty"`   // each write ends only when it is on the disk
	AllowInactive bool            `json:"allow-inactive,omitempty"` // QEMU 10.0
	Name          string          `json:"name,omitempty"`           // of nbd, default NodeName, and of vduse-blk
	Description   string          `json:"description,omitempty"`    // of nbd
	// Of nbd: clients see them as qemu:dirty-bitmap:NAME.
	Bitmaps []BlockDirtyBitmapOrStr `json:"bitmaps,omitempty"`
	// Of nbd: clients see qemu:allocation-depth.
	AllocationDepth bool           `json:"allocation-depth,omitempty"`
	Addr            *SocketAddress `json:"addr,omitempty"` // of vhost-user-blk, a unix or fd address
	// Bytes, of vhost-user-blk and vduse-blk; default: 512.
	LogicalBlockSize uint64               `json:"logical-block-size,omitempty"`
	NumQueues        uint16               `json:"num-queues,omitempty"` // of vhost-user-blk and vduse-blk; default: 1
	Mountpoint       string               `json:"mountpoint,omitempty"` // of fuse: an existing file
	Growable         bool                 `json:"growable,omitempty"`   // of fuse: writes beyond the end enlarge it
	AllowOther       FuseExportAllowOther `json:"allow-other,omitempty"`
	QueueSize        uint16               `json:"queue-size,omitempty"`
	Serial           string               `json:"serial,omitempty"` // of vduse-blk
}

// BlockExportInfo is an export.
type BlockExportInfo struct {
	ID           string          `json:"id"`
	Type         BlockExportType `json:"type"`
	NodeName     string          `json:"node-name"`
	ShuttingDown bool            `json:"shutting-down"`
}

// NbdServerOptionsLegacy are the arguments of nbd-server-start.
type NbdServerOptionsLegacy struct {
	// Limit for a client to begin; 0: none; default: 10 (QEMU 10.0).
	HandshakeMaxSeconds *uint32 `json:"handshake-max-seconds,omitempty"`
	TLSCreds            string  `json:"tls-creds,omitempty"` // id of a tls-creds object
	TLSAuthz            string  `json:"tls-authz,omitempty"` // id of an authz object
	// At once; 0: no limit; default: 100, before QEMU 9.1 0.
	MaxConnections *uint32             `json:"max-connections,omitempty"`
	Addr           SocketAddressLegacy `json:"addr"`
}

// NbdServerAddOptions are the arguments of nbd-server-add.
type NbdServerAddOptions struct {
	Name        string `json:"name,omitempty"` // default: Device
	Description string `json:"description,omitempty"`
	Device      string `json:"device"` // device or node
	Writable    bool   `json:"writable,omitempty"`
	Bitmap      string `json:"bitmap,omitempty"`
}

// BlockExportType is a kind of export.
type BlockExportType string

// Values of BlockExportType.
const (
	BlockExportTypeNBD          BlockExportType = "nbd"
	BlockExportTypeVhostUserBlk BlockExportType = "vhost-user-blk"
	BlockExportTypeFuse         BlockExportType = "fuse"
	BlockExportTypeVduseBlk     BlockExportType = "vduse-blk"
)

// BlockExportRemoveMode says what happens to an export with clients.
type BlockExportRemoveMode string

// Values of BlockExportRemoveMode.
const (
	BlockExportRemoveModeSafe BlockExportRemoveMode = "safe" // it stays: an error
	BlockExportRemoveModeHard BlockExportRemoveMode = "hard" // its clients are disconnected
)

// FuseExportAllowOther says who may open a FUSE export.
type FuseExportAllowOther string

// Values of FuseExportAllowOther.
const (
	FuseExportAllowOtherOff  FuseExportAllowOther = "off"
	FuseExportAllowOtherOn   FuseExportAllowOther = "on"
	FuseExportAllowOtherAuto FuseExportAllowOther = "auto" // everybody, if the system lets QEMU do so
)
