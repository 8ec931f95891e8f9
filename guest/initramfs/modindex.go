//go:build linux

package initramfs

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/internal/artifact"
)

// index knows the modules of one kernel. What a module needs is read from the module
// itself, which says the same as modules.dep; that file is only used to find modules
// without walking the folder, and a package that was unpacked and not installed does
// not have it.
type index struct {
	dir     string
	inputs  *artifact.Inputs
	files   map[string]string // name -> path below dir
	builtin map[string]bool
	loaded  map[string]module
}

func newIndex(dir string, inputs *artifact.Inputs) (*index, error) {
	x := &index{
		dir: dir, inputs: inputs,
		files: map[string]string{}, builtin: map[string]bool{}, loaded: map[string]module{},
	}
	// The folder too: it changes when a kernel is unpacked again.
	if err := inputs.Add(dir); err != nil {
		return nil, err
	}
	err := x.lines("modules.builtin", func(line string) {
		if name, ok := moduleName(line); ok {
			x.builtin[name] = true
		}
	})
	if err != nil {
		return nil, err
	}
	err = x.lines("modules.dep", func(line string) {
		file, _, _ := strings.Cut(line, ":")
		x.add(file)
	})
	if err != nil {
		return nil, err
	}
	if len(x.files) == 0 {
		err = x.walk()
	}
	return x, err
}

func (x *index) add(file string) {
	if name, ok := moduleName(file); ok && filepath.IsLocal(file) {
		x.files[name] = file
	}
}

// lines calls f for each line of a file of the folder, if there is one.
func (x *index) lines(name string, f func(string)) error {
	path := filepath.Join(x.dir, name)
	if err := x.inputs.Add(path); err != nil {
		return err
	}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	scan := bufio.NewScanner(file)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		f(scan.Text())
	}
	return scan.Err()
}

func (x *index) walk() error {
	return filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file, err := filepath.Rel(x.dir, path)
		if err == nil {
			x.add(file)
		}
		return err
	})
}

// get reads a module.
func (x *index) get(name string) (module, error) {
	if m, ok := x.loaded[name]; ok {
		return m, nil
	}
	file, ok := x.files[name]
	if !ok {
		return module{}, fmt.Errorf("module %s is not in %s", name, x.dir)
	}
	host := filepath.Join(x.dir, file)
	if err := x.inputs.Add(host); err != nil {
		return module{}, err
	}
	m, err := readModule(host, file)
	if err != nil {
		return module{}, err
	}
	x.loaded[name] = m
	return m, nil
}

// has reports whether name is a module with a file; false for built-in ones.
func (x *index) has(name string) bool {
	_, ok := x.files[name]
	return ok && !x.builtin[name]
}

// order returns a module and everything it needs, in the order in which they load.
func (x *index) order(name string) ([]module, error) {
	var out []module
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] || x.builtin[name] {
			return nil
		}
		seen[name] = true
		m, err := x.get(name)
		if err != nil {
			return err
		}
		for _, soft := range m.pre {
			// A softdep is a wish, and often the alias of a module and not its name.
			if x.has(soft) {
				if err := visit(soft); err != nil {
					return err
				}
			}
		}
		for _, dep := range m.depends {
			if err := visit(dep); err != nil {
				return fmt.Errorf("%w, and %s needs it", err, name)
			}
		}
		out = append(out, m)
		return nil
	}
	if err := visit(normalName(name)); err != nil {
		return nil, err
	}
	return out, nil
}
