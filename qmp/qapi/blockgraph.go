package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// XDebugQueryBlockGraph returns all block nodes and who uses which. QEMU calls the command
// unstable; it has been the same since QEMU 4.0.
func XDebugQueryBlockGraph(ctx context.Context, e qmp.Executor) (XDbgBlockGraph, error) {
	return qmp.Do[XDbgBlockGraph](ctx, e, "x-debug-query-block-graph", nil)
}

// XDbgBlockGraph are the block nodes, and who uses which.
type XDbgBlockGraph struct {
	Nodes []XDbgBlockGraphNode `json:"nodes"`
	Edges []XDbgBlockGraphEdge `json:"edges"`
}

// XDbgBlockGraphNode is a block node or something that uses one.
type XDbgBlockGraphNode struct {
	ID   uint64                 `json:"id"` // in this graph only
	Type XDbgBlockGraphNodeType `json:"type"`
	// Name is a block node's name, a job's id, or of a backend its name or the id or QOM path of
	// the device that it belongs to.
	Name string `json:"name"`
}

// XDbgBlockGraphNodeType is what a node of the graph is.
type XDbgBlockGraphNodeType string

// Values of XDbgBlockGraphNodeType.
const (
	XDbgBlockGraphNodeTypeBlockBackend XDbgBlockGraphNodeType = "block-backend"
	XDbgBlockGraphNodeTypeBlockJob     XDbgBlockGraphNodeType = "block-job"
	XDbgBlockGraphNodeTypeBlockDriver  XDbgBlockGraphNodeType = "block-driver"
)

// XDbgBlockGraphEdge says that one node uses another.
type XDbgBlockGraphEdge struct {
	Parent     uint64            `json:"parent"`
	Child      uint64            `json:"child"`
	Name       string            `json:"name"` // as what: "root", "file", "backing", ...
	Perm       []BlockPermission `json:"perm"`
	SharedPerm []BlockPermission `json:"shared-perm"` // what others may do meanwhile
}

// BlockPermission is what a user of a node may do with it.
type BlockPermission string

// Values of BlockPermission.
const (
	BlockPermissionConsistentRead BlockPermission = "consistent-read"
	BlockPermissionWrite          BlockPermission = "write"
	BlockPermissionWriteUnchanged BlockPermission = "write-unchanged"
	BlockPermissionResize         BlockPermission = "resize"
)
