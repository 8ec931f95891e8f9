package maqettest

import (
	"context"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// transcript is what is said over QMP with a guest, in a file of its home, for the report of a
// failure. Nil is none.
type transcript struct {
	*qmp.Transcript
	file string
}

// listen begins a transcript.
func (h *home) listen(ctx context.Context, id string) (*transcript, error) {
	file := filepath.Join(h.dir, "qmp-"+id+".log")
	t, err := h.maqet.QMP.Transcript(ctx, id, file)
	if err != nil {
		return nil, err
	}
	return &transcript{t, file}, nil
}

// close ends the transcript; what it has stays.
func (t *transcript) close() error {
	if t == nil {
		return nil
	}
	return t.Close()
}

// remove removes what it has: a home can have many guests, one after the other.
func (t *transcript) remove() error {
	if t == nil {
		return nil
	}
	return errors.Join(t.close(), os.Remove(t.file))
}
