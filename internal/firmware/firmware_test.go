package firmware

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shelf is a set of folders with descriptors, the first of which counts most.
type shelf struct {
	t    *testing.T
	dirs []string
}

func newShelf(t *testing.T) *shelf {
	base := t.TempDir()
	s := &shelf{t: t}
	for _, dir := range []string{"user", "admin", "distro"} {
		s.dirs = append(s.dirs, filepath.Join(base, dir))
	}
	for _, dir := range s.dirs[1:] { // the user's need not exist
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	for _, image := range []string{"code", "vars"} {
		require.NoError(t, os.WriteFile(filepath.Join(base, image), []byte(image), 0o600))
	}
	return s
}

func (s *shelf) put(dir int, name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dirs[dir], name)
	base := filepath.Dir(s.dirs[0])
	require.NoError(s.t, os.MkdirAll(s.dirs[dir], 0o700))
	require.NoError(s.t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "BASE", base)), 0o600))
	return file
}

// uefi is a descriptor for q35 with these features.
func uefi(features string) string {
	return `{"interface-types": ["uefi"], "mapping": {"device": "flash", "executable": {"filename": "BASE/code", "format": "raw"},
		"nvram-template": {"filename": "BASE/vars", "format": "raw"}},
		"targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}], "features": [` + features + `], "tags": ["x"], "unknown": 1}`
}

var q35 = Query{Arch: "x86_64", Machines: []string{"q35", "pc-q35-7.2"}}

func TestOrder(t *testing.T) {
	s := newShelf(t)
	last := s.put(2, "60-plain.json", uefi(""))
	s.put(2, "README", "no descriptor")
	find := func() string {
		img, err := Find(s.dirs, q35)
		require.NoError(t, err)
		return img.Descriptor
	}
	require.Equal(t, last, find())
	first := s.put(2, "50-other.json", uefi(`"verbose-static"`))
	require.Equal(t, first, find(), "by name")
	masked := s.put(1, "50-other.json", uefi(""))
	require.Equal(t, masked, find(), "the administrator's hides the distribution's")
	masked = s.put(0, "50-other.json", uefi(""))
	require.Equal(t, masked, find(), "the user's hides both")
	s.put(0, "50-other.json", "")
	require.Equal(t, last, find(), "an empty one hides only")
	s.put(1, "10-broken.json", "{")
	require.Equal(t, last, find(), "a broken one is passed over")
}

func TestFeatures(t *testing.T) {
	s := newShelf(t)
	secure := s.put(2, "40-enrolled.json", uefi(`"secure-boot", "requires-smm", "enrolled-keys"`))
	able := s.put(2, "50-able.json", uefi(`"secure-boot", "requires-smm"`))
	img, err := Find(s.dirs, q35)
	require.NoError(t, err)
	require.Equal(t, able, img.Descriptor, "if there is no other")
	require.True(t, img.SMM)
	plain := s.put(2, "60-plain.json", uefi(`"acpi-s3"`))
	img, err = Find(s.dirs, q35)
	require.NoError(t, err)
	require.Equal(t, plain, img.Descriptor)
	require.False(t, img.SMM)
	q := q35
	q.SecureBoot = true
	img, err = Find(s.dirs, q)
	require.NoError(t, err)
	base := filepath.Dir(s.dirs[0])
	require.Equal(t, Image{Descriptor: secure, Code: File{base + "/code", "raw"}, NVRAM: File{base + "/vars", "raw"}, SMM: true}, img)
}

func TestMappings(t *testing.T) {
	for mapping, want := range map[string]Image{
		`{"device": "memory", "filename": "BASE/code"}`:                                                                                               {Code: File{"BASE/code", "raw"}, Memory: true},
		`{"device": "flash", "mode": "stateless", "executable": {"filename": "BASE/code", "format": "qcow2"}}`:                                        {Code: File{"BASE/code", "qcow2"}},
		`{"device": "flash", "mode": "combined", "executable": {"filename": "BASE/code", "format": "raw"}}`:                                           {},
		`{"device": "flash", "executable": {"filename": "BASE/code", "format": "raw"}}`:                                                               {},
		`{"device": "flash", "mode": "stateless", "executable": {"filename": "BASE/gone", "format": "raw"}}`:                                          {},
		`{"device": "flash", "mode": "stateless", "executable": {"filename": "BASE", "format": "raw"}}`:                                               {},
		`{"device": "flash", "mode": "stateless", "executable": {"filename": "BASE/code", "format": "vmdk"}}`:                                         {},
		`{"device": "kernel", "filename": "BASE/code"}`:                                                                                               {},
		`{"device": "flash", "executable": {"filename": "BASE/code", "format": "raw"}, "nvram-template": {"filename": "BASE/gone", "format": "raw"}}`: {},
	} {
		s := newShelf(t)
		base := filepath.Dir(s.dirs[0])
		file := s.put(2, "x.json", `{"interface-types": ["bios", "uefi"], "mapping": `+mapping+`,
			"targets": [{"architecture": "aarch64", "machines": ["virt"]}, {"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}]}`)
		img, err := Find(s.dirs, q35)
		if want == (Image{}) {
			require.ErrorIs(t, err, ErrNone)
			require.ErrorContains(t, err, file, "says which one was passed over")
			continue
		}
		require.NoError(t, err)
		want.Descriptor, want.Code.Filename = file, strings.ReplaceAll(want.Code.Filename, "BASE", base)
		require.Equal(t, want, img)
	}
}

func TestNoneFits(t *testing.T) {
	s := newShelf(t)
	s.put(2, "a.json", uefi(""))
	s.put(2, "b.json", strings.Replace(uefi(""), `"uefi"`, `"bios"`, 1))
	for name, q := range map[string]Query{
		"architecture": {Arch: "aarch64", Machines: q35.Machines},
		"machine":      {Arch: "x86_64", Machines: []string{"microvm"}},
		"secure boot":  {Arch: "x86_64", Machines: q35.Machines, SecureBoot: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Find(s.dirs, q)
			require.ErrorIs(t, err, ErrNone)
		})
	}
}

func TestDirs(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", "/cfg")
	require.Equal(t, "/cfg/qemu/firmware", Dirs()[0])
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "/home/me")
	require.Equal(t, "/home/me/.config/qemu/firmware", Dirs()[0])
	require.Contains(t, Dirs(), "/usr/share/qemu/firmware")
}
