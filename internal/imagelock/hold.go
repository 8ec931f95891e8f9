package imagelock

import (
	"errors"
	"os"
)

// ErrHeld says that somebody else does with an image what does not go together with this.
var ErrHeld = errors.New("image is held by somebody else")

// Hold is a claim on an image, which ends by Release, and with the process.
type Hold struct {
	file *os.File
}

// Release ends the claim. It is idempotent, and does nothing for a nil Hold.
func (h *Hold) Release() {
	if h == nil || h.file == nil {
		return
	}
	_ = h.file.Close() // nothing was written; the lock goes with the file
	h.file = nil
}
