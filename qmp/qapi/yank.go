package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryYank lists what [Yank] could act on.
func QueryYank(ctx context.Context, e qmp.Executor) ([]YankInstance, error) {
	return qmp.Do[[]YankInstance](ctx, e, "query-yank", nil)
}

// Yank breaks connections that hang, so that QEMU goes on: those of block nodes,
// character devices or the migration.
func Yank(ctx context.Context, e qmp.Executor, instances []YankInstance) error {
	return run(ctx, e, "yank", struct {
		Instances []YankInstance `json:"instances"`
	}{instances})
}

// YankInstance is something with a connection.
type YankInstance struct {
	Type     YankInstanceType `json:"type"`
	NodeName string           `json:"node-name,omitempty"` // of block-node
	ID       string           `json:"id,omitempty"`        // of chardev
}

// YankInstanceType is a kind of thing with a connection.
type YankInstanceType string

// Values of YankInstanceType.
const (
	YankInstanceTypeBlockNode YankInstanceType = "block-node"
	YankInstanceTypeChardev   YankInstanceType = "chardev"
	YankInstanceTypeMigration YankInstanceType = "migration"
)
