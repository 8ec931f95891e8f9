package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mikelolasagasti/xz"
)

// modules are the module files of one kernel: name -> path.
type modules map[string]string

// file is a module, uncompressed.
type file struct {
	name string
	data []byte
}

// openPackage finds the modules below a folder lib/modules/VERSION.
func openPackage(dir string) (modules, error) {
	found := modules{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _, ok := strings.Cut(filepath.Base(path), ".ko")
		if err == nil && ok && !d.IsDir() {
			found[normal(name)] = path
		}
		return err
	})
	return found, err
}

// normal returns the kernel's own spelling of a module's name.
func normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// needed returns a module and what it needs, in the order in which they load.
func (m modules) needed(name string) ([]file, error) {
	path, ok := m[name]
	if !ok {
		return nil, fmt.Errorf("the kernel's package has no module %s", name)
	}
	data, err := unpacked(path)
	if err != nil {
		return nil, err
	}
	names, err := depends(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []file
	for _, n := range names {
		files, err := m.needed(n)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	return append(out, file{name, data}), nil
}

// unpacked reads a module, which may be compressed.
func unpacked(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch filepath.Ext(path) {
	case ".ko":
		return io.ReadAll(f)
	case ".xz":
		r, err := xz.NewReader(f, xz.DefaultDictMax)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}
	return nil, fmt.Errorf("%s: compressed in a way that this example does not know", path)
}

// depends reads which modules one needs. It says so in its section .modinfo, which holds texts
// such as "depends=a,b", each ended by a zero byte.
func depends(ko []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return nil, err
	}
	info := f.Section(".modinfo")
	if info == nil {
		return nil, fmt.Errorf("it is no kernel module")
	}
	data, err := info.Data()
	if err != nil {
		return nil, err
	}
	for text := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(text, "depends="); ok && list != "" {
			return strings.Split(normal(list), ","), nil
		}
	}
	return nil, nil
}
