//go:build linux

package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/internal/artifact"
)

// linker brings the interpreter and the libraries of dynamic programs along, found as
// ld.so(8) finds them: DT_RPATH or DT_RUNPATH, the folders of /etc/ld.so.conf, the
// standard folders. LD_LIBRARY_PATH is not looked at: the guest does not have it.
type linker struct {
	tree    *tree
	inputs  *artifact.Inputs
	folders []string        // of the host, in order
	done    map[string]bool // guest paths that were looked at
}

func newLinker(t *tree, inputs *artifact.Inputs) *linker {
	return &linker{tree: t, inputs: inputs, done: map[string]bool{}}
}

const ldCache = "/etc/ld.so.cache"

// need adds what the file at host, which is in the tree as guest, needs to run. A
// file that is no dynamic program needs nothing.
func (l *linker) need(guest, host string) error {
	if l.done[guest] {
		return nil
	}
	l.done[guest] = true
	f, err := openELF(host)
	if f == nil || err != nil {
		return err
	}
	defer f.Close()
	if interp := interpreter(f); interp != "" {
		if err := l.addInterpreter(host, interp); err != nil {
			return err
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	paths, err := runPaths(f)
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

func (l *linker) addInterpreter(program, interp string) error {
	if _, err := os.Stat(interp); err != nil {
		return fmt.Errorf("%s needs the dynamic linker %s, which this host does not have: link it statically", program, interp)
	}
	if err := l.addLibrary(interp, interp); err != nil {
		return err
	}
	// With its cache the guest's linker finds libraries where this host's does.
	if _, err := os.Stat(ldCache); err != nil || l.tree.has(ldCache) {
		return nil // a host without the cache has only the standard folders
	}
	if err := l.inputs.Add(ldCache); err != nil {
		return err
	}
	return l.tree.host(ldCache, ldCache, 0o644)
}

func (l *linker) addLibrary(guest, host string) error {
	if l.tree.has(guest) {
		return nil
	}
	if err := l.inputs.Add(host); err != nil {
		return err
	}
	if err := l.tree.host(guest, host, 0o755); err != nil {
		return err
	}
	return l.need(guest, host)
}

// find returns where a library is on the host and where the guest's linker will look
// for it: the same place, unless that is relative to the program ($ORIGIN).
func (l *linker) find(user *elf.File, name string, paths []string, guest, host string) (string, string, error) {
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

// runPaths returns the folders that the file itself names.
func runPaths(f *elf.File) ([]string, error) {
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		values, err := f.DynString(tag)
		if err != nil {
			return nil, err
		}
		if len(values) > 0 {
			return strings.Split(strings.Join(values, ":"), ":"), nil
		}
	}
	return nil, nil
}

// fits reports whether host is a library for the machine of user.
func fits(user *elf.File, host string) bool {
	f, err := openELF(host)
	if f == nil || err != nil {
		return false
	}
	defer f.Close()
	return f.Machine == user.Machine && f.Class == user.Class
}

// openELF opens an ELF file; nil when it is something else.
func openELF(host string) (*elf.File, error) {
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

// interpreter returns the dynamic linker that a program names, "" for none.
func interpreter(f *elf.File) string {
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
