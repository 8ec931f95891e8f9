package kernel

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// fakeVmlinux returns an ELF file for x86-64 that has one segment of notes.
func fakeVmlinux(noteKind uint32) []byte {
	var note bytes.Buffer
	for _, v := range []uint32{4, 4, noteKind} {
		binary.Write(&note, binary.LittleEndian, v)
	}
	note.WriteString(noteName + "\x00\x00\x00\x01")
	const head, entry = 64, 56
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + string(make([]byte, 9)))
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(0), uint64(head), uint64(0), uint32(0),
		uint16(head), uint16(entry), uint16(1), uint16(64), uint16(0), uint16(0),
		// the segment
		uint32(4), uint32(4), uint64(head + entry), uint64(0), uint64(0),
		uint64(note.Len()), uint64(note.Len()), uint64(4),
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	b.Write(note.Bytes())
	b.WriteString("\x00Linux version %s\x00Linux version 6.9.1-test (gcc) #1\x00")
	return b.Bytes()
}

// compressions by name; each returns what the kernel's build would.
var compressions = map[string]func(t *testing.T, data []byte) []byte{
	"gzip": func(t *testing.T, data []byte) []byte {
		return compressed(t, data, false, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	},
	"xz": func(t *testing.T, data []byte) []byte {
		return compressed(t, data, true, func(w io.Writer) io.WriteCloser {
			z, err := xz.NewWriter(w)
			require.NoError(t, err)
			return z
		})
	},
	"zstd": func(t *testing.T, data []byte) []byte {
		return compressed(t, data, true, func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			require.NoError(t, err)
			return z
		})
	},
	"lz4": func(t *testing.T, data []byte) []byte {
		return compressed(t, data, true, func(w io.Writer) io.WriteCloser {
			z := lz4.NewWriter(w)
			require.NoError(t, z.Apply(lz4.LegacyOption(true)))
			return z
		})
	},
}

func compressed(t *testing.T, data []byte, appendSize bool, open func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	z := open(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	if appendSize {
		binary.Write(&b, binary.LittleEndian, uint32(len(data)))
	}
	return b.Bytes()
}

// bzImage wraps a payload as the kernel's build does.
func bzImage(version string, payload []byte) []byte {
	const sectors, gap = 3, 32
	b := make([]byte, (sectors+1)*sectorSize+gap)
	b[offSetupSects] = sectors
	copy(b[offMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[offProtocol:], 0x20f)
	if version != "" {
		binary.LittleEndian.PutUint16(b[offVersion:], 0x300)
		copy(b[0x500:], version+" (builder@host) #1 SMP\x00")
	}
	binary.LittleEndian.PutUint32(b[offPayload:], gap)
	binary.LittleEndian.PutUint32(b[offPayloadLength:], uint32(len(payload)))
	return append(b, payload...)
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// image returns an Image: its head, and a banner behind it.
func image(magic, version string) []byte {
	b := make([]byte, 4096)
	copy(b[offImageMagic:], magic)
	return append(b, "Linux version "+version+" (gcc)"...)
}

// zboot wraps a payload as the kernel's build does: with a size behind it that its head
// does not count, unless gzip has it anyway.
func zboot(codec string, payload []byte) []byte {
	b := make([]byte, 4096)
	copy(b, "MZ")
	copy(b[offZBootMagic:], "zimg")
	copy(b[offZBootCodec:], codec)
	length := len(payload)
	if codec != "gzip" {
		length -= sizeField
	}
	binary.LittleEndian.PutUint32(b[offZBootPayload:], 4096)
	binary.LittleEndian.PutUint32(b[offZBootPayload+4:], uint32(length))
	return append(append(b, payload...), "more of the program"...)
}

// elfFor returns the vmlinux of another machine.
func elfFor(machine uint16) []byte {
	b := fakeVmlinux(notePHYS)
	binary.LittleEndian.PutUint16(b[18:], machine)
	return b
}
