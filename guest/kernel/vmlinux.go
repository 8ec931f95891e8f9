//go:build linux

package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
)

// ErrNoPVH says that a kernel can't be started uncompressed, because it was built
// without CONFIG_PVH: boot [Kernel.Path] as it is.
var ErrNoPVH = errors.New("the kernel has no PVH entry point")

// Vmlinux returns the path of the uncompressed kernel: Path itself when that is one,
// else a file in the cache folder's vmlinux/, extracted at the first call. Extracting
// takes 0.2 s (LZ4) to several seconds (XZ), later calls 0.1 ms. It is safe to call
// from several goroutines and processes; one of them extracts.
//
// [ErrNoPVH] when a kernel for x86 can't be started that way. A damaged kernel is
// errors.ErrInvalidConfiguration, and nothing is kept of it.
func (k Kernel) Vmlinux(ctx context.Context) (string, error) {
	path := k.Path
	switch {
	case k.plain != "":
		return k.plain, ctx.Err()
	case k.Format == Image:
		return k.Path, ctx.Err()
	case k.Format == BzImage:
		var err error
		if path, err = k.extracted(ctx); err != nil {
			return "", err
		}
	}
	ok, err := hasPVH(path)
	if err != nil {
		return "", invalid(k.Path, err)
	}
	if !ok {
		return "", ErrNoPVH
	}
	return path, nil
}

func (k Kernel) extracted(ctx context.Context) (string, error) {
	dir := k.cache
	if dir == "" {
		var err error
		if dir, err = DefaultCacheDir(); err != nil {
			return "", err
		}
	}
	suffix := ".image"
	if k.Format == BzImage {
		suffix = ".elf"
	}
	cache := artifact.Cache{Dir: filepath.Join(dir, "vmlinux")}
	return cache.File(ctx, artifact.Recipe{
		Key:    "vmlinux 1 " + k.Path,
		Suffix: suffix,
		Make: func(_ context.Context, w io.Writer, inputs *artifact.Inputs) error {
			if err := inputs.Add(k.Path); err != nil {
				return err
			}
			return extract(k.Path, w)
		},
	})
}

// extract writes the uncompressed kernel inside the file at path to w.
func extract(path string, w io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	payload, check, err := findPayload(f, head[:n])
	if err != nil {
		return invalid(path, err)
	}
	out := &faultWriter{w: w}
	if err := payload.decompress(out, check); err != nil {
		if out.failed != nil {
			return out.failed // disk full, context ended: not the kernel's fault
		}
		return invalid(path, fmt.Errorf("decompress: %w", err))
	}
	return nil
}

// findPayload locates the compressed kernel in a file that begins with head, and
// returns what its uncompressed beginning has to pass.
func findPayload(f *os.File, head []byte) (p payload, check func([]byte) error, err error) {
	info, err := f.Stat()
	if err != nil {
		return payload{}, nil, err
	}
	p, check = payload{r: f, length: info.Size()}, checkImage
	switch {
	case isBzImage(head):
		check = checkELF
		p.off, p.length, err = bzPayload(head)
	case isZBoot(head):
		p.off = int64(binary.LittleEndian.Uint32(head[offZBootPayload:]))
		p.length = int64(binary.LittleEndian.Uint32(head[offZBootPayload+4:]))
		if !bytes.HasPrefix(head[offZBootCodec:], []byte("gzip\x00")) {
			p.length += sizeField // which the head does not count
		}
	}
	if err != nil {
		return payload{}, nil, err
	}
	if p.length < 16 || p.off+p.length > info.Size() {
		return payload{}, nil, fmt.Errorf("its payload (%d bytes at %d) does not fit into its %d bytes", p.length, p.off, info.Size())
	}
	return p, check, nil
}

// bzPayload returns where the compressed kernel is in a bzImage.
func bzPayload(head []byte) (off, length int64, err error) {
	if binary.LittleEndian.Uint16(head[offProtocol:]) < payloadProtocol {
		return 0, 0, errors.New("a kernel older than 2.6.26 does not say where its payload is")
	}
	sectors := int64(head[offSetupSects])
	if sectors == 0 {
		sectors = 4 // boot.rst: "For backwards compatibility"
	}
	off = (sectors+1)*sectorSize + int64(binary.LittleEndian.Uint32(head[offPayload:]))
	return off, int64(binary.LittleEndian.Uint32(head[offPayloadLength:])), nil
}

func checkELF(head []byte) error {
	if !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return errors.New("the payload is no ELF file")
	}
	return nil
}

func checkImage(head []byte) error {
	if imageArch(head) == "" {
		return errors.New("what is compressed in it is no Image of Linux for aarch64 or riscv64")
	}
	return nil
}

// faultWriter remembers when writing failed.
type faultWriter struct {
	w      io.Writer
	failed error
}

func (f *faultWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.failed = err
	return n, err
}

// PVH entry point: an ELF note of Xen's. Xen, public/elfnote.h,
// XEN_ELFNOTE_PHYS32_ENTRY.
const (
	noteName  = "Xen\x00"
	notePHYS  = 18
	notesSize = 64 << 10 // more than any kernel has
)

// hasPVH reports whether the ELF file at path has a PVH entry point.
func hasPVH(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(p.Open(), notesSize))
		if err != nil {
			return false, err
		}
		if findNote(notes, f.ByteOrder) {
			return true, nil
		}
	}
	return false, nil
}

func findNote(notes []byte, order binary.ByteOrder) bool {
	for len(notes) >= 12 {
		nameSize, descSize := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		kind := order.Uint32(notes[8:])
		notes = notes[12:]
		step := align4(nameSize) + align4(descSize)
		if step > uint64(len(notes)) {
			return false
		}
		if kind == notePHYS && string(notes[:nameSize]) == noteName {
			return true
		}
		notes = notes[step:]
	}
	return false
}

func align4(n uint64) uint64 { return (n + 3) &^ 3 }
