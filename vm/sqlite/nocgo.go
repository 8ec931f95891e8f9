//go:build !cgo

package sqlite

import (
	"context"
	"log/slog"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Store can't be had without cgo.
type Store struct {
	vm.Store
	storage.Registry
	snapshot.Records
}

// Option has no effect without cgo.
type Option func()

// WithLogger has no effect without cgo.
func WithLogger(*slog.Logger) Option { return nil }

// WithBusyTimeout has no effect without cgo.
func WithBusyTimeout(time.Duration) Option { return nil }

// Open fails: this program was built without cgo.
func Open(context.Context, string, ...Option) (*Store, error) {
	return nil, &errors.Error{
		Kind: errors.ErrDatabase, Op: "open store", Msg: "this program was built without cgo, which SQLite needs",
		Hint: "build with CGO_ENABLED=1 and a C compiler, or keep instances with vm/memory",
	}
}
