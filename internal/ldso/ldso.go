//go:build linux

// Package ldso finds what dynamic programs need to run somewhere else, as ld.so(8) finds it
// here.
package ldso

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Linker brings the dynamic linkers and the libraries of programs along. It looks in
// DT_RPATH, in Paths, in DT_RUNPATH, in the folders of /etc/ld.so.conf and in the standard
// folders. It is for one goroutine.
type Linker struct {
	// Add brings a file of the host to a path of the guest. It returns false if another is
	// there already, which is left alone.
	Add func(guest, host string, mode uint32) (added bool, err error)
	// Paths are the folders of LD_LIBRARY_PATH, if the guest has that, too.
	Paths []string

	folders []string        // of the host, in order
	done    map[string]bool // guest paths that were looked at
}

// Cache is the dynamic linker's list of libraries; with it the guest's linker finds them
// where this host's does.
const Cache = "/etc/ld.so.cache"

// Need adds what the file at host, which the guest has at guest, needs to run. A file that is
// no dynamic program needs nothing.
func (l *Linker) Need(guest, host string) error {
	if l.done[guest] {
		return nil
	}
	if l.done == nil {
		l.done = map[string]bool{}
	}
	l.done[guest] = true
	f, err := Open(host)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	if interp := Interpreter(f); interp != "" {
		if err := l.addInterpreter(host, interp); err != nil {
			return err
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	paths, err := l.runPaths(f)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	for _, name := range libs {
		libGuest, libHost, err := l.find(f, name, paths, guest, host)
		if err != nil {
			return err
		}
		if err := l.addLibrary(libGuest, libHost); err != nil {
			return err
		}
	}
	return nil
}

func (l *Linker) addInterpreter(program, interp string) error {
	if _, err := os.Stat(interp); err != nil {
		return fmt.Errorf("%s needs the dynamic linker %s, which this host does not have: link it statically", program, interp)
	}
	if err := l.addLibrary(interp, interp); err != nil {
		return err
	}
	if _, err := os.Stat(Cache); err != nil {
		return nil // a host without the cache has only the standard folders
	}
	_, err := l.Add(Cache, Cache, 0o644)
	return err
}

func (l *Linker) addLibrary(guest, host string) error {
	if added, err := l.Add(guest, host, 0o755); err != nil || !added {
		return err
	}
	return l.Need(guest, host)
}

// find returns where a library is on the host and where the guest's linker will look
// for it: the same place, unless that is relative to the program ($ORIGIN).
func (l *Linker) find(user *elf.File, name string, paths []string, guest, host string) (string, string, error) {
	if strings.ContainsRune(name, '/') {
		return name, name, nil
	}
	for _, dir := range paths {
		h := filepath.Join(expandOrigin(dir, filepath.Dir(host)), name)
		if fits(user, h) {
			return path.Join(expandOrigin(dir, path.Dir(guest)), name), h, nil
		}
	}
	if l.folders == nil {
		l.folders = append(readLdConf("/etc/ld.so.conf", 0), standardFolders...)
	}
	for _, dir := range l.folders {
		if h := filepath.Join(dir, name); fits(user, h) {
			return h, h, nil
		}
	}
	return "", "", fmt.Errorf("%s needs the library %s, which is not found", host, name)
}

var standardFolders = []string{
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
	"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/lib/riscv64-linux-gnu", "/usr/lib/riscv64-linux-gnu",
	"/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
}

func expandOrigin(dir, origin string) string {
	return strings.NewReplacer("${ORIGIN}", origin, "$ORIGIN", origin).Replace(dir)
}

// runPaths returns the folders that the file itself names, and Paths where they come among
// them: DT_RPATH, which counts only without DT_RUNPATH, is before LD_LIBRARY_PATH.
func (l *Linker) runPaths(f *elf.File) ([]string, error) {
	run, err := folders(f, elf.DT_RUNPATH)
	if err != nil || run != nil {
		return slices.Concat(l.Paths, run), err
	}
	run, err = folders(f, elf.DT_RPATH)
	return slices.Concat(run, l.Paths), err
}

func folders(f *elf.File, tag elf.DynTag) ([]string, error) {
	values, err := f.DynString(tag)
	if err != nil || len(values) == 0 {
		return nil, err
	}
	return strings.Split(strings.Join(values, ":"), ":"), nil
}

// fits reports whether host is a library for the machine of user.
func fits(user *elf.File, host string) bool {
	f, err := Open(host)
	if f == nil || err != nil {
		return false
	}
	defer f.Close()
	return f.Machine == user.Machine && f.Class == user.Class
}

// Open opens an ELF file; nil when it is something else.
func Open(host string) (*elf.File, error) {
	f, err := os.Open(host)
	if err != nil {
		return nil, err
	}
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != elf.ELFMAG {
		return nil, f.Close()
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	e, err := elf.Open(host)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is damaged", host), err)
	}
	return e, nil
}

// Interpreter returns the dynamic linker that a program names, "" for none.
func Interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		text, err := io.ReadAll(p.Open())
		if err != nil {
			return ""
		}
		text, _, _ = bytes.Cut(text, []byte{0})
		return string(text)
	}
	return ""
}

// readLdConf reads the folders in a file like /etc/ld.so.conf (ldconfig(8)).
func readLdConf(file string, depth int) []string {
	text, err := os.ReadFile(file)
	if err != nil || depth > 4 {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "include":
			for _, pattern := range fields[1:] {
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(filepath.Dir(file), pattern)
				}
				more, _ := filepath.Glob(pattern)
				for _, m := range more {
					dirs = append(dirs, readLdConf(m, depth+1)...)
				}
			}
		default:
			dirs = append(dirs, fields[0])
		}
	}
	return dirs
}
