package guest

import (
	"bytes"
	"context"
	"io"
	"io/fs"

	"github.com/maqet/maqet/errors"
)

// ReadFile returns what a file in the guest has, also one whose size is not known
// before, such as those of /proc. A file that does not exist is fs.ErrNotExist. The
// whole file is held in memory: CopyFrom is for large ones.
func (m *Manager) ReadFile(ctx context.Context, ref, path string) ([]byte, error) {
	return m.at(ref).readFile(ctx, path)
}

func (e entrance) readFile(ctx context.Context, path string) ([]byte, error) {
	name, err := absGuestPath(path)
	if err != nil {
		return nil, errors.Wrap(errors.ErrGuest, "read a file in VM", e.ref, err)
	}
	var buf bytes.Buffer
	err = e.do(ctx, "read "+path+" in VM", func(ctx context.Context, w way) error {
		return w.readFile(ctx, name, &buf)
	})
	if err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// WriteFile makes or replaces a file in the guest; its permissions are then perm. The
// file has its new content only when all of it has arrived, and until then the old one.
// Devices and files that can't be replaced, such as those of /proc, are written in
// place. The folder must exist: otherwise fs.ErrNotExist.
func (m *Manager) WriteFile(ctx context.Context, ref, path string, data []byte, perm fs.FileMode) error {
	return m.at(ref).writeFile(ctx, path, data, perm)
}

func (e entrance) writeFile(ctx context.Context, path string, data []byte, perm fs.FileMode) error {
	name, err := absGuestPath(path)
	if err != nil {
		return errors.Wrap(errors.ErrGuest, "write a file in VM", e.ref, err)
	}
	return e.do(ctx, "write "+path+" in VM", func(ctx context.Context, w way) error {
		return w.writeFile(ctx, name, bytes.NewReader(data), perm)
	})
}

// contextReader ends a copy when its context ends, between reads.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
