package kernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Offsets in the head of a bzImage. Linux, Documentation/arch/x86/boot.rst, "The
// Real-Mode Kernel Header".
const (
	offSetupSects    = 0x1f1
	offMagic         = 0x202 // "HdrS"
	offProtocol      = 0x206
	offVersion       = 0x20e // less 0x200: where the version text begins
	offPayload       = 0x248 // counted from the protected-mode code
	offPayloadLength = 0x24c
	sectorSize       = 512
	headSize         = 0x250 // up to and with the fields above
	payloadProtocol  = 0x208 // first protocol that has the payload's place
)

// The head of an uncompressed kernel, the same for both architectures but for the magic
// bytes. Linux, Documentation/arch/arm64/booting.rst and
// Documentation/arch/riscv/boot-image-header.rst.
const (
	offImageMagic = 0x38
	magicARM64    = "ARM\x64"
	magicRISCV    = "RSC\x05"
	imageHeadSize = 0x40
)

// The head of an EFI zboot kernel. Linux, drivers/firmware/efi/libstub/zboot-header.S.
const (
	offZBootMagic   = 0x04 // "zimg", after "MZ"
	offZBootPayload = 0x08 // its offset in the file, then its length
	offZBootCodec   = 0x18 // "gzip", "zstd22", ...
)

// block is how much is read at a time.
const block = 1 << 20

// bannerLimit bounds how far a kernel is searched for its version.
const bannerLimit = 256 << 20

// identify reads what kind of kernel the file at path is.
func identify(path string) (Kernel, error) {
	f, err := os.Open(path)
	if err != nil {
		return Kernel{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return Kernel{}, err
	} else if !info.Mode().IsRegular() {
		return Kernel{}, errors.New("not a regular file")
	}
	head := make([]byte, headSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Kernel{}, err
	}
	head, err = head[:n], nil // a small file ends in its head
	k := Kernel{Path: path}
	switch {
	case isBzImage(head):
		k.Format, k.Arch = BzImage, archX86
		k.Version, err = bzImageVersion(f, head)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		k.Format = ELF
		if k.Arch, err = elfArch(f); err == nil {
			k.Version, err = banner(f)
		}
	case imageArch(head) != "":
		k.Format, k.Arch = Image, imageArch(head)
		k.Version, err = banner(f)
	case isZBoot(head):
		k.Format = ZBoot // what is inside is known when it is unpacked
	case bytes.HasPrefix(head, []byte(magicGzip)):
		k.Format = ImageGzip
	default:
		err = errors.New("not a Linux kernel")
	}
	return k, err
}

func isBzImage(head []byte) bool {
	return len(head) == headSize && string(head[offMagic:offMagic+4]) == "HdrS"
}

// imageArch returns the architecture of an uncompressed kernel that begins with head;
// empty when it is something else.
func imageArch(head []byte) string {
	if len(head) < imageHeadSize {
		return ""
	}
	switch string(head[offImageMagic : offImageMagic+4]) {
	case magicARM64:
		return archARM64
	case magicRISCV:
		return archRISCV
	default:
		return ""
	}
}

func isZBoot(head []byte) bool {
	return len(head) == headSize && string(head[:2]) == "MZ" && string(head[offZBootMagic:offZBootMagic+4]) == "zimg"
}

// bzImageVersion reads the first word of the version text.
func bzImageVersion(r io.ReaderAt, head []byte) (string, error) {
	at := binary.LittleEndian.Uint16(head[offVersion:])
	if at == 0 {
		return "", nil // the field is optional
	}
	text := make([]byte, 256)
	n, err := r.ReadAt(text, int64(at)+sectorSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	text, _, ok := bytes.Cut(text[:n], []byte{0})
	if !ok {
		return "", errors.New("the file ends in its own header")
	}
	return checkVersion(firstWord(string(text)))
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// checkVersion refuses versions that would leave the folder of the modules, since
// they become part of paths.
func checkVersion(v string) (string, error) {
	if strings.ContainsAny(v, "/\x00") || v == "." || v == ".." {
		return "", fmt.Errorf("impossible version %q", v)
	}
	return v, nil
}

// elfArch accepts what QEMU starts by its PVH entry. The vmlinux of another architecture
// it loads as a program that runs without a system.
func elfArch(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return "", err
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return archX86, nil
	case elf.EM_AARCH64, elf.EM_RISCV:
		return "", fmt.Errorf("QEMU can't boot a vmlinux for %v; it boots the Image that is made of it", f.Machine)
	default:
		return "", fmt.Errorf("a kernel for %v is not supported", f.Machine)
	}
}

// banner finds the version in the text that the kernel prints first, "Linux version
// 6.1.0 (...". It returns "" when there is none.
func banner(r io.Reader) (string, error) {
	mark := []byte("Linux version ")
	const longest = 128 // of a version
	keep := len(mark) + longest
	buf := make([]byte, block)
	have := 0
	for total := 0; total < bannerLimit; {
		n, err := io.ReadFull(r, buf[have:])
		total += n
		have += n
		for at := 0; ; {
			i := bytes.Index(buf[at:have], mark)
			if i < 0 {
				break
			}
			at += i + len(mark)
			// The format string "Linux version %s" is no version.
			if rest := buf[at:have]; len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' && bytes.IndexByte(rest, ' ') > 0 {
				return checkVersion(firstWord(string(rest)))
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		// A mark that this block cuts in two is whole in the next.
		copy(buf, buf[have-keep:have])
		have = keep
	}
	return "", nil
}
