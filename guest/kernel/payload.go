package kernel

import (
	"bufio"
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

// payload is the compressed kernel inside a file.
type payload struct {
	r           io.ReaderAt
	off, length int64
}

const magicGzip = "\x1f\x8b"

// codecs are the compressions a kernel can have (Linux, lib/decompress.c), by the
// bytes that they begin with. LZO and the old LZMA format, which no distribution uses,
// are missing.
var codecs = []struct {
	magic string
	open  func(io.Reader) (io.Reader, error)
}{
	{magicGzip, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
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

// open returns a reader of the uncompressed content, and the size that the payload says
// it has.
func (p payload) open() (r *bufio.Reader, size int64, err error) {
	magic := make([]byte, 6)
	if _, err := p.r.ReadAt(magic, p.off); err != nil {
		return nil, 0, err
	}
	var tail [sizeField]byte
	if _, err := p.r.ReadAt(tail[:], p.off+p.length-sizeField); err != nil {
		return nil, 0, err
	}
	for _, c := range codecs {
		if !bytes.HasPrefix(magic, []byte(c.magic)) {
			continue
		}
		length := p.length
		if c.magic != magicGzip {
			length -= sizeField
		}
		plain, err := c.open(io.NewSectionReader(p.r, p.off, length))
		if err != nil {
			return nil, 0, err
		}
		return bufio.NewReaderSize(plain, block), int64(binary.LittleEndian.Uint32(tail[:])), nil
	}
	return nil, 0, fmt.Errorf("unknown compression (it begins with % x)", magic)
}

// decompress writes the uncompressed content to w, if check likes how it begins, and no
// more of it than the payload says there is.
func (p payload) decompress(w io.Writer, check func(head []byte) error) error {
	r, want, err := p.open()
	if err != nil {
		return err
	}
	head, err := r.Peek(int(min(headSize, want)))
	if err != nil {
		return err
	}
	if err := check(head); err != nil {
		return err
	}
	// Plain readers and writers, so that nothing is passed on in other pieces.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{io.LimitReader(r, want+1)}, make([]byte, block))
	switch {
	case err != nil:
		return err
	case n != want:
		return errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("%d bytes came out, or more, of %d", n, want))
	}
	return nil
}
