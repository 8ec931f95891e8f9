package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestVmlinuxOfEachCompression(t *testing.T) {
	want := fakeVmlinux(notePHYS)
	for name, compress := range compressions {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			path := write(t, filepath.Join(t.TempDir(), "vmlinuz"), bzImage("6.1.0-9-cloud-amd64", compress(t, want)))
			k, err := Open(t.Context(), path, cache)
			require.NoError(t, err)
			require.Equal(t, BzImage, k.Format)
			require.Equal(t, archX86, k.Arch)
			require.Equal(t, "6.1.0-9-cloud-amd64", k.Version)

			elf, err := k.Vmlinux(t.Context())
			require.NoError(t, err)
			got, err := os.ReadFile(elf)
			require.NoError(t, err)
			require.Equal(t, want, got)
			again, err := k.Vmlinux(t.Context())
			require.NoError(t, err)
			require.Equal(t, elf, again)

			// What was extracted is a kernel itself.
			k, err = Open(t.Context(), elf, cache)
			require.NoError(t, err)
			require.Equal(t, ELF, k.Format)
			require.Equal(t, "6.9.1-test", k.Version)
			same, err := k.Vmlinux(t.Context())
			require.NoError(t, err)
			require.Equal(t, elf, same)
		})
	}
}

func TestVmlinuxWithoutPVH(t *testing.T) {
	const otherNote = 1
	path := write(t, filepath.Join(t.TempDir(), "vmlinuz"), bzImage("6.1.0", compressions["zstd"](t, fakeVmlinux(otherNote))))
	k, err := Open(t.Context(), path, t.TempDir())
	require.NoError(t, err)
	_, err = k.Vmlinux(t.Context())
	require.ErrorIs(t, err, ErrNoPVH)
}

func TestDamagedKernelsAreRefused(t *testing.T) {
	payload := compressions["gzip"](t, bytes.Repeat(fakeVmlinux(notePHYS), 100))
	broken := bytes.Clone(payload)
	broken[len(broken)/2] ^= 0xff
	short := bytes.Clone(payload)
	binary.LittleEndian.PutUint32(short[len(short)-4:], 10)
	oldProtocol := bzImage("2.6.20", payload)
	binary.LittleEndian.PutUint16(oldProtocol[offProtocol:], 0x205)
	for name, data := range map[string][]byte{
		"flipped byte":        bzImage("6.1.0", broken),
		"wrong size":          bzImage("6.1.0", short),
		"cut off":             bzImage("6.1.0", payload)[:2200],
		"unknown compression": bzImage("6.1.0", bytes.Repeat([]byte("?"), 100)),
		"no ELF inside":       bzImage("6.1.0", compressions["gzip"](t, []byte("just some text, no kernel"))),
		"old protocol":        oldProtocol,
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			k, err := Open(t.Context(), write(t, filepath.Join(t.TempDir(), "vmlinuz"), data), cache)
			require.NoError(t, err)
			_, err = k.Vmlinux(t.Context())
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, k.Path)
			left, err := filepath.Glob(filepath.Join(cache, "vmlinux", "*.elf"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestFilesThatAreNoKernels(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":          nil,
		"text":           []byte(strings.Repeat("hello ", 200)),
		"cut header":     bzImage("6.1.0", nil)[:0x210],
		"bad version":    bzImage("../../etc", []byte(strings.Repeat("x", 99))),
		"ELF head only":  fakeVmlinux(notePHYS)[:20],
		"gzip of a text": compressions["gzip"](t, []byte("hello")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), write(t, filepath.Join(t.TempDir(), "k"), data), "")
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
		})
	}
	_, err := Open(t.Context(), t.TempDir(), "")
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration, "a folder")
	_, err = Open(t.Context(), filepath.Join(t.TempDir(), "none"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestImages(t *testing.T) {
	for arch, magic := range map[string]string{archARM64: magicARM64, archRISCV: magicRISCV} {
		plain := image(magic, "6.12.3-test")
		forms := map[string][]byte{"plain": plain, "gzip": compressions["gzip"](t, plain)}
		for name, compress := range compressions {
			forms["zboot "+name] = zboot(name, compress(t, plain))
		}
		for name, data := range forms {
			t.Run(arch+" "+name, func(t *testing.T) {
				path := write(t, filepath.Join(t.TempDir(), "vmlinuz"), data)
				k, err := Open(t.Context(), path, t.TempDir())
				require.NoError(t, err)
				require.Equal(t, arch, k.Arch)
				require.Equal(t, "6.12.3-test", k.Version)
				require.Equal(t, map[bool]Format{true: Image, false: k.Format}[name == "plain"], k.Format)
				boots, err := k.Vmlinux(t.Context())
				require.NoError(t, err)
				require.Equal(t, name == "plain", boots == path)
				got, err := os.ReadFile(boots)
				require.NoError(t, err)
				require.Equal(t, plain, got)
			})
		}
	}
}

func TestDamagedImages(t *testing.T) {
	plain := image(magicARM64, "6.12.3-test")
	packed := compressions["gzip"](t, plain)
	far := zboot("gzip", packed)
	binary.LittleEndian.PutUint32(far[offZBootPayload:], 1<<30)
	for name, data := range map[string][]byte{
		"gzip cut off":        packed[:len(packed)-9],
		"zboot of a text":     zboot("gzip", compressions["gzip"](t, bytes.Repeat([]byte("text "), 100))),
		"zboot points away":   far,
		"zboot, strange pack": zboot("lzo", bytes.Repeat([]byte("x"), 100)),
		"ELF for arm64":       elfFor(183),
	} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			_, err := Open(t.Context(), write(t, filepath.Join(t.TempDir(), "vmlinuz"), data), cache)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			left, err := filepath.Glob(filepath.Join(cache, "vmlinux", "*.image"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestBannerAcrossBlocks(t *testing.T) {
	const text = "Linux version 5.10.0-1 (gcc)"
	for shift := range len(text) + 2 {
		data := append(make([]byte, 1<<20-shift), text...)
		got, err := banner(bytes.NewReader(append(data, make([]byte, 2<<20)...)))
		require.NoError(t, err)
		require.Equal(t, "5.10.0-1", got, "shift %d", shift)
	}
	_, err := banner(iotest.ErrReader(os.ErrPermission))
	require.ErrorIs(t, err, os.ErrPermission)
}

func TestVmlinuxCancelled(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "vmlinuz"), bzImage("6.1.0", compressions["zstd"](t, fakeVmlinux(notePHYS))))
	k, err := Open(t.Context(), path, t.TempDir())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = k.Vmlinux(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzOpen(f *testing.F) {
	f.Add(bzImage("6.1.0", []byte("\x1f\x8b-----------------")))
	f.Add(fakeVmlinux(notePHYS))
	f.Add(image(magicARM64, "6.1.0"))
	f.Add(zboot("gzip", []byte("\x1f\x8b-----------------")))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		k, err := Open(t.Context(), write(t, filepath.Join(dir, "k"), data), filepath.Join(dir, "cache"))
		if err == nil {
			_, _ = k.Vmlinux(t.Context())
		}
	})
}
