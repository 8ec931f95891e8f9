package qapi

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/qmp"
)

// BlockDirtyBitmapAdd makes a bitmap.
func BlockDirtyBitmapAdd(ctx context.Context, e qmp.Executor, args BlockDirtyBitmapAddArgs) error {
	return run(ctx, e, "block-dirty-bitmap-add", args)
}

// BlockDirtyBitmapRemove removes a bitmap, also from the image.
func BlockDirtyBitmapRemove(ctx context.Context, e qmp.Executor, args BlockDirtyBitmap) error {
	return run(ctx, e, "block-dirty-bitmap-remove", args)
}

// BlockDirtyBitmapClear marks everything clean.
func BlockDirtyBitmapClear(ctx context.Context, e qmp.Executor, args BlockDirtyBitmap) error {
	return run(ctx, e, "block-dirty-bitmap-clear", args)
}

// BlockDirtyBitmapEnable lets a bitmap record writes.
func BlockDirtyBitmapEnable(ctx context.Context, e qmp.Executor, args BlockDirtyBitmap) error {
	return run(ctx, e, "block-dirty-bitmap-enable", args)
}

// BlockDirtyBitmapDisable lets a bitmap record writes no more.
func BlockDirtyBitmapDisable(ctx context.Context, e qmp.Executor, args BlockDirtyBitmap) error {
	return run(ctx, e, "block-dirty-bitmap-disable", args)
}

// BlockDirtyBitmapMerge adds what bitmaps have to another.
func BlockDirtyBitmapMerge(ctx context.Context, e qmp.Executor, args BlockDirtyBitmapMergeArgs) error {
	return run(ctx, e, "block-dirty-bitmap-merge", args)
}

// BlockDirtyBitmapAddArgs are the arguments of block-dirty-bitmap-add, and a transaction
// action.
type BlockDirtyBitmapAddArgs struct {
	Node string `json:"node"`
	Name string `json:"name"`
	// Bytes for each bit; 0: 64 KiB, or the image's cluster.
	Granularity uint32 `json:"granularity,omitempty"`
	Persistent  bool   `json:"persistent,omitempty"` // keep it in the image
	Disabled    bool   `json:"disabled,omitempty"`   // do not record yet
}

// BlockDirtyBitmap names a bitmap of a node.
type BlockDirtyBitmap struct {
	Node string `json:"node"`
	Name string `json:"name"`
}

// BlockDirtyBitmapMergeArgs are the arguments of block-dirty-bitmap-merge, and a transaction
// action.
type BlockDirtyBitmapMergeArgs struct {
	Node    string                  `json:"node"`
	Target  string                  `json:"target"` // the bitmap of Node that is changed
	Bitmaps []BlockDirtyBitmapOrStr `json:"bitmaps"`
}

// BlockDirtyBitmapOrStr is a bitmap by its name alone, on the node that is at hand, or
// with a Node of its own.
type BlockDirtyBitmapOrStr BlockDirtyBitmap

// MarshalJSON implements json.Marshaler.
func (b BlockDirtyBitmapOrStr) MarshalJSON() ([]byte, error) {
	if b.Node == "" {
		return json.Marshal(b.Name)
	}
	return json.Marshal(BlockDirtyBitmap(b))
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *BlockDirtyBitmapOrStr) UnmarshalJSON(data []byte) error {
	*b = BlockDirtyBitmapOrStr{}
	if len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &b.Name)
	}
	return json.Unmarshal(data, (*BlockDirtyBitmap)(b))
}
