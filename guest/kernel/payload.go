package kernel

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
	"github.com/pierrec/lz4/v4"
)

// payload is the compressed kernel inside a bzImage.
type payload struct {
	r           io.ReaderAt
	off, length int64
}

// codecs are the compressions a kernel can have (Linux, lib/decompress.c), by the
// bytes that they begin with. LZO and the old LZMA format, which no distribution uses,
// are missing.
var codecs = []struct {
	magic string
	open  func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"\xfd7zXZ\x00", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, xz.DefaultDictMax) }},
	{"\x28\xb5\x2f\xfd", openZstd},
	{"\x02\x21\x4c\x18", func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
	{"BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
}

// openZstd decodes in the caller's goroutine, so that nothing has to be closed. The
// kernel is compressed with a window of up to 128 MiB (zstd --ultra -22).
func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
}

// sizeField is the uncompressed size that the kernel's build appends to the payload
// (Linux, scripts/Makefile.lib, size_append). gzip has it in its own last bytes.
const sizeField = 4

// decompress writes the uncompressed content to w, and no more of it than the payload
// says there is.
func (p payload) decompress(w io.Writer) error {
	magic := make([]byte, 6)
	if _, err := p.r.ReadAt(magic, p.off); err != nil {
		return err
	}
	var tail [sizeField]byte
	if _, err := p.r.ReadAt(tail[:], p.off+p.length-sizeField); err != nil {
		return err
	}
	want := int64(binary.LittleEndian.Uint32(tail[:]))
	for _, c := range codecs {
		if !bytes.HasPrefix(magic, []byte(c.magic)) {
			continue
		}
		length := p.length
		if c.magic != "\x1f\x8b" {
			length -= sizeField
		}
		r, err := c.open(io.NewSectionReader(p.r, p.off, length))
		if err != nil {
			return err
		}
		return copyExactly(w, r, want)
	}
	return fmt.Errorf("unknown compression (it begins with % x)", magic)
}

func copyExactly(w io.Writer, r io.Reader, want int64) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(r, want+1), make([]byte, 1<<20))
	switch {
	case err != nil:
		return err
	case n != want:
		return errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("%d bytes came out, or more, of %d", n, want))
	}
	return nil
}
