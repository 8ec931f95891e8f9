// Package firmware finds firmware images by the descriptors that distributions and users
// install for QEMU. Their format and the order of their folders is that of QEMU's
// docs/interop/firmware.json.
package firmware

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNone says that no descriptor fits.
var ErrNone = errors.New("no firmware descriptor fits")

// Query says what a UEFI has to be for.
type Query struct {
	Arch string // by QEMU's name
	// Machines are names that the machine type goes by, without a version or with any. A
	// descriptor has to allow one of them.
	Machines []string
	// SecureBoot asks for one that starts only what is signed, with keys enrolled. Without
	// it such ones are left out: they would refuse what they do not know.
	SecureBoot bool
}

// File is an image and its format, "raw" or "qcow2".
type File struct {
	Filename string `json:"filename"`
	Format   string `json:"format"`
}

// Image is a UEFI that fits.
type Image struct {
	Descriptor string // the descriptor's path
	Code       File
	// Memory says that the machine loads Code as it does a BIOS (option -bios), instead of
	// mapping it as flash memory.
	Memory bool
	// NVRAM is the template of the variables; empty: the firmware has none that last.
	NVRAM File
	SMM   bool // the machine must have system management mode
}

// Dirs returns the folders that are looked into, the user's first.
func Dirs() []string {
	var dirs []string
	config := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); !filepath.IsAbs(config) && err == nil {
		config = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(config) {
		dirs = append(dirs, filepath.Join(config, "qemu", "firmware"))
	}
	return append(dirs, "/etc/qemu/firmware", "/usr/local/share/qemu/firmware", "/usr/share/qemu/firmware")
}

// Find returns the first UEFI that fits, in the order of the descriptors' file names. A
// descriptor hides those of its name in later folders; an empty one does only that. One
// that can't be read, or whose images are not installed, is passed over; the error, which
// wraps ErrNone, names them.
func Find(dirs []string, q Query) (Image, error) {
	var fits []Image
	var trouble []error
	for _, file := range descriptors(dirs) {
		d, err := read(file)
		if err != nil {
			trouble = append(trouble, err)
			continue
		}
		if !d.fits(q) {
			continue
		}
		img, err := d.image(file)
		if err != nil {
			trouble = append(trouble, fmt.Errorf("%s: %w", file, err))
			continue
		}
		fits = append(fits, img)
	}
	if len(fits) == 0 {
		return Image{}, errors.Join(append([]error{ErrNone}, trouble...)...)
	}
	// System management mode costs time, and only protects what secure boot needs.
	if i := slices.IndexFunc(fits, func(img Image) bool { return !img.SMM }); i >= 0 && !q.SecureBoot {
		return fits[i], nil
	}
	return fits[0], nil
}

// descriptors returns the files that count, sorted by name.
func descriptors(dirs []string) []string {
	byName := map[string]string{}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // most of them do not exist
		for _, e := range entries {
			if name := e.Name(); filepath.Ext(name) == ".json" && byName[name] == "" {
				byName[name] = filepath.Join(dir, name)
			}
		}
	}
	files := make([]string, 0, len(byName))
	for _, file := range byName {
		files = append(files, file)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return files
}

// descriptor is the part of QEMU's type Firmware that is used.
type descriptor struct {
	Interfaces []string `json:"interface-types"`
	Mapping    struct {
		Device     string `json:"device"` // "flash", "memory" or "kernel"
		Mode       string `json:"mode"`   // of flash: "split" (the default), "combined" or "stateless"
		Executable File   `json:"executable"`
		NVRAM      File   `json:"nvram-template"`
		Filename   string `json:"filename"` // of memory
	} `json:"mapping"`
	Targets []struct {
		Arch     string   `json:"architecture"`
		Machines []string `json:"machines"` // patterns
	} `json:"targets"`
	Features []string `json:"features"`
}

func read(file string) (descriptor, error) {
	var d descriptor
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

func (d descriptor) has(feature string) bool { return slices.Contains(d.Features, feature) }

func (d descriptor) fits(q Query) bool {
	if !slices.Contains(d.Interfaces, "uefi") || d.has("enrolled-keys") != q.SecureBoot || q.SecureBoot && !d.has("secure-boot") {
		return false
	}
	for _, t := range d.Targets {
		if t.Arch != q.Arch {
			continue
		}
		for _, pattern := range t.Machines {
			for _, name := range q.Machines {
				if ok, err := path.Match(pattern, name); err == nil && ok {
					return true
				}
			}
		}
	}
	return false
}

// image returns what the descriptor is about, if that is installed.
func (d descriptor) image(file string) (Image, error) {
	img := Image{Descriptor: file, SMM: d.has("requires-smm")}
	switch m := d.Mapping; {
	case m.Device == "memory":
		img.Memory, img.Code = true, File{Filename: m.Filename, Format: "raw"}
	case m.Device == "flash" && m.Mode == "stateless":
		img.Code = m.Executable
	case m.Device == "flash" && (m.Mode == "split" || m.Mode == ""):
		img.Code, img.NVRAM = m.Executable, m.NVRAM
		if err := installed(m.NVRAM); err != nil {
			return img, err
		}
	default:
		return img, fmt.Errorf("a mapping as %s %s is not known", m.Device, m.Mode)
	}
	return img, installed(img.Code)
}

func installed(f File) error {
	if f.Format != "raw" && f.Format != "qcow2" {
		return fmt.Errorf("%s: the format %q is not known", f.Filename, f.Format)
	}
	info, err := os.Stat(f.Filename)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "use", Path: f.Filename, Err: errors.New("not a regular file")}
	}
	return err
}
