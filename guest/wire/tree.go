package wire

import (
	"context"
	"errors"
	"io"
)

// PutTree unpacks a tar stream below a folder of the guest, which it creates
// when it does not exist.
func (s *Session) PutTree(ctx context.Context, guestDir string, tarStream io.Reader) error {
	return errors.ErrUnsupported
}

// GetTree writes a guest file or folder as a tar stream to w.
func (s *Session) GetTree(ctx context.Context, guestPath string, w io.Writer) error {
	return errors.ErrUnsupported
}
