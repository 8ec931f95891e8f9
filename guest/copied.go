package guest

import (
	"context"
	"io"
)

type copiedKey struct{}

// OnCopied returns a context under which [Manager.CopyTo] and [Manager.CopyFrom] call fn
// with the number of bytes of each piece that they have moved: those of files and of the
// archive around them, some 1 KiB for each file. fn is called by one goroutine at a time and must not block.
func OnCopied(ctx context.Context, fn func(bytes int)) context.Context {
	return context.WithValue(ctx, copiedKey{}, fn)
}

// counted is r, and tells who wants to know how much of it was read.
func counted(ctx context.Context, r io.Reader) io.Reader {
	fn, ok := ctx.Value(copiedKey{}).(func(int))
	if !ok {
		return r
	}
	return countedReader{r, fn}
}

type countedReader struct {
	io.Reader
	fn func(int)
}

// Read implements io.Reader.
func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		c.fn(n)
	}
	return n, err
}
