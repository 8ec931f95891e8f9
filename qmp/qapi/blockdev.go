package qapi

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// BlockdevAdd makes a block node. It opens the image.
func BlockdevAdd(ctx context.Context, e qmp.Executor, options BlockdevOptions) error {
	return run(ctx, e, "blockdev-add", options)
}

// BlockdevDel removes a block node that nothing uses.
func BlockdevDel(ctx context.Context, e qmp.Executor, nodeName string) error {
	return run(ctx, e, "blockdev-del", nodeArgs{nodeName})
}

// BlockdevReopen gives block nodes new options, all or none. Options that are left out
// go back to their defaults; NodeName must be set.
func BlockdevReopen(ctx context.Context, e qmp.Executor, options ...BlockdevOptions) error {
	return run(ctx, e, "blockdev-reopen", struct {
		Options []BlockdevOptions `json:"options"`
	}{options})
}

// BlockdevCreate starts a job that formats an image. Whether it went well is in
// [JobInfo] when the job is concluded; the job stays until [JobDismiss].
func BlockdevCreate(ctx context.Context, e qmp.Executor, jobID string, options BlockdevCreateOptions) error {
	return run(ctx, e, "blockdev-create", struct {
		JobID   string                `json:"job-id"`
		Options BlockdevCreateOptions `json:"options"`
	}{jobID, options})
}

// BlockdevSetActive makes a node, or all when nodeName is empty, usable or leaves it to
// another QEMU, for a migration. Since QEMU 10.0.
func BlockdevSetActive(ctx context.Context, e qmp.Executor, nodeName string, active bool) error {
	return run(ctx, e, "blockdev-set-active", struct {
		NodeName string `json:"node-name,omitempty"`
		Active   bool   `json:"active"`
	}{nodeName, active})
}

// BlockdevOptions describes a block node. The members here are common to all drivers or
// to most; what else a driver has (manual, BlockdevOptions) goes to Props: for example
// "aio", "locking", "pr-manager" of file, "l2-cache-size", "encrypt" of qcow2, "size"
// and "offset" of raw, "server" and "export" of nbd.
type BlockdevOptions struct {
	Driver       BlockdevDriver              `json:"driver"`
	NodeName     string                      `json:"node-name,omitempty"` // needed by BlockdevAdd for a node at the top
	ReadOnly     bool                        `json:"read-only,omitempty"`
	AutoReadOnly bool                        `json:"auto-read-only,omitempty"` // read-only where writing is not possible
	ForceShare   bool                        `json:"force-share,omitempty"`    // look at an image that another process has open
	Discard      BlockdevDiscardOptions      `json:"discard,omitempty"`        // default: ignore
	DetectZeroes BlockdevDetectZeroesOptions `json:"detect-zeroes,omitempty"`  // default: off
	Cache        *BlockdevCacheOptions       `json:"cache,omitempty"`
	Active       *bool                       `json:"active,omitempty"`   // default: true; QEMU 10.0
	Filename     string                      `json:"filename,omitempty"` // of file, host_device and host_cdrom
	File         *BlockdevRef                `json:"file,omitempty"`     // the node below, of formats and filters
	// Backing is the node with the content that a qcow2 image lacks. nil: as the image
	// says; the zero BlockdevRef: none.
	Backing *BlockdevRef   `json:"backing,omitempty"`
	Props   map[string]any `json:"-"`
}

type plainBlockdevOptions BlockdevOptions

// MarshalJSON implements json.Marshaler.
func (o BlockdevOptions) MarshalJSON() ([]byte, error) {
	return marshalProps(plainBlockdevOptions(o), o.Props)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *BlockdevOptions) UnmarshalJSON(data []byte) error {
	return unmarshalProps(data, (*plainBlockdevOptions)(o), &o.Props)
}

// BlockdevCacheOptions is how a node caches.
type BlockdevCacheOptions struct {
	Direct  bool `json:"direct,omitempty"`   // past the host's cache (O_DIRECT)
	NoFlush bool `json:"no-flush,omitempty"` // ignore flushes: data is lost when the host crashes
}

// BlockdevRef is a reference to a block node: to one that exists by its name, or to one
// that is made together with the node that refers to it. The zero value is none.
type BlockdevRef struct {
	Node    string
	Options *BlockdevOptions
}

// MarshalJSON implements json.Marshaler.
func (r BlockdevRef) MarshalJSON() ([]byte, error) {
	switch {
	case r.Options != nil && r.Node != "":
		return nil, &errors.Error{Kind: errors.ErrQMP, Op: "BlockdevRef", Msg: "both Node and Options are set", Hint: "set one of them"}
	case r.deeper(maxDepth):
		return nil, &errors.Error{Kind: errors.ErrQMP, Op: "BlockdevRef", Msg: "nodes refer to each other in a circle", Hint: "refer to nodes that exist by Node"}
	case r.Options != nil:
		return json.Marshal(r.Options)
	case r.Node != "":
		return json.Marshal(r.Node)
	}
	return []byte("null"), nil
}

// maxDepth is more references than any chain of images has.
const maxDepth = 1000

// deeper says whether references go on more than n levels below r, as in a circle they
// do. encoding/json would follow them until the stack is full, which ends the process.
func (r *BlockdevRef) deeper(n int) bool {
	if r == nil || r.Options == nil {
		return false
	}
	return n == 0 || r.Options.File.deeper(n-1) || r.Options.Backing.deeper(n-1)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *BlockdevRef) UnmarshalJSON(data []byte) error {
	*r = BlockdevRef{}
	if len(data) > 0 && data[0] == '{' {
		return json.Unmarshal(data, &r.Options)
	}
	return json.Unmarshal(data, &r.Node)
}

// BlockdevCreateOptions says what image to make. What else a format has (manual,
// BlockdevCreateOptions) goes to Props: for example "cluster-size", "backing-file",
// "backing-fmt", "preallocation", "version" of qcow2.
type BlockdevCreateOptions struct {
	Driver   BlockdevDriver `json:"driver"`
	Size     uint64         `json:"size"`               // bytes that the guest sees
	Filename string         `json:"filename,omitempty"` // of file
	File     *BlockdevRef   `json:"file,omitempty"`     // the node to format, of formats
	Props    map[string]any `json:"-"`
}

type plainBlockdevCreateOptions BlockdevCreateOptions

// MarshalJSON implements json.Marshaler.
func (o BlockdevCreateOptions) MarshalJSON() ([]byte, error) {
	return marshalProps(plainBlockdevCreateOptions(o), o.Props)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *BlockdevCreateOptions) UnmarshalJSON(data []byte) error {
	return unmarshalProps(data, (*plainBlockdevCreateOptions)(o), &o.Props)
}

// BlockdevDiscardOptions is what becomes of discards.
type BlockdevDiscardOptions string

// Values of BlockdevDiscardOptions.
const (
	BlockdevDiscardOptionsIgnore BlockdevDiscardOptions = "ignore"
	BlockdevDiscardOptionsUnmap  BlockdevDiscardOptions = "unmap" // they free space on the host
)

// BlockdevDriver is a driver of block nodes: a format, a protocol or a filter.
type BlockdevDriver string

// Values of BlockdevDriver.
const (
	BlockdevDriverBlkdebug           BlockdevDriver = "blkdebug"
	BlockdevDriverBlklogwrites       BlockdevDriver = "blklogwrites"
	BlockdevDriverBlkreplay          BlockdevDriver = "blkreplay"
	BlockdevDriverBlkverify          BlockdevDriver = "blkverify"
	BlockdevDriverBochs              BlockdevDriver = "bochs"
	BlockdevDriverCloop              BlockdevDriver = "cloop"
	BlockdevDriverCompress           BlockdevDriver = "compress"
	BlockdevDriverCopyBeforeWrite    BlockdevDriver = "copy-before-write"
	BlockdevDriverCopyOnRead         BlockdevDriver = "copy-on-read"
	BlockdevDriverDmg                BlockdevDriver = "dmg"
	BlockdevDriverFile               BlockdevDriver = "file"
	BlockdevDriverSnapshotAccess     BlockdevDriver = "snapshot-access"
	BlockdevDriverFTP                BlockdevDriver = "ftp"
	BlockdevDriverFtps               BlockdevDriver = "ftps"
	BlockdevDriverGluster            BlockdevDriver = "gluster"
	BlockdevDriverHostCdrom          BlockdevDriver = "host_cdrom"
	BlockdevDriverHostDevice         BlockdevDriver = "host_device"
	BlockdevDriverHTTP               BlockdevDriver = "http"
	BlockdevDriverHTTPS              BlockdevDriver = "https"
	BlockdevDriverIOUring            BlockdevDriver = "io_uring"
	BlockdevDriverISCSI              BlockdevDriver = "iscsi"
	BlockdevDriverLUKS               BlockdevDriver = "luks"
	BlockdevDriverNBD                BlockdevDriver = "nbd"
	BlockdevDriverNFS                BlockdevDriver = "nfs"
	BlockdevDriverNullAIO            BlockdevDriver = "null-aio"
	BlockdevDriverNullCo             BlockdevDriver = "null-co"
	BlockdevDriverNvme               BlockdevDriver = "nvme"
	BlockdevDriverNvmeIOUring        BlockdevDriver = "nvme-io_uring"
	BlockdevDriverParallels          BlockdevDriver = "parallels"
	BlockdevDriverPreallocate        BlockdevDriver = "preallocate"
	BlockdevDriverQcow               BlockdevDriver = "qcow"
	BlockdevDriverQcow2              BlockdevDriver = "qcow2"
	BlockdevDriverQed                BlockdevDriver = "qed"
	BlockdevDriverQuorum             BlockdevDriver = "quorum"
	BlockdevDriverRaw                BlockdevDriver = "raw"
	BlockdevDriverRbd                BlockdevDriver = "rbd"
	BlockdevDriverReplication        BlockdevDriver = "replication"
	BlockdevDriverSSH                BlockdevDriver = "ssh"
	BlockdevDriverThrottle           BlockdevDriver = "throttle"
	BlockdevDriverVdi                BlockdevDriver = "vdi"
	BlockdevDriverVhdx               BlockdevDriver = "vhdx"
	BlockdevDriverVirtioBlkVFIOPCI   BlockdevDriver = "virtio-blk-vfio-pci"
	BlockdevDriverVirtioBlkVhostUser BlockdevDriver = "virtio-blk-vhost-user"
	BlockdevDriverVirtioBlkVhostVdpa BlockdevDriver = "virtio-blk-vhost-vdpa"
	BlockdevDriverVmdk               BlockdevDriver = "vmdk"
	BlockdevDriverVpc                BlockdevDriver = "vpc"
	BlockdevDriverVvfat              BlockdevDriver = "vvfat"
)
