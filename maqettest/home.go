package maqettest

import (
	"context"
	"sync/atomic"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/cleanup"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm/memory"
)

// home is where guests live: a Maqet with a folder and a store of its own.
type home struct {
	dir   string
	maqet *maqet.Maqet
	files *dir

	children atomic.Int32 // of its template, and of theirs: how many have been made
}

func newHome(opts []maqet.Option) (*home, error) {
	files, err := newDir()
	if err != nil {
		return nil, err
	}
	own := []maqet.Option{maqet.WithDir(files.path), maqet.WithStore(memory.New())}
	m, err := maqet.New(append(own, opts...)...)
	if err != nil {
		return nil, errors.Join(err, files.remove())
	}
	return &home{dir: files.path, maqet: m, files: files}, nil
}

// close ends all guests, persistent ones, too, and removes everything.
func (h *home) close() error {
	// No test's context: what is left when they have ended is cleared away.
	// Not of a test: those that used it have ended, and nothing is left however long it takes.
	_, err := h.maqet.Cleanup.StopAll(context.Background(), cleanup.AndRemove())
	return errors.Join(err, h.maqet.Close(), h.files.remove())
}
