package vm

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/layered"
)

//go:generate go run ../internal/cmd/configdoc -root ..

// LoadOptions say how configuration files are read. The zero value works.
type LoadOptions struct {
	// Vars are the variables that paths in the files may use as ${NAME}. One that is not
	// here is an error; the environment is not looked at.
	Vars map[string]string
}

// LoadConfig reads a Config from YAML or JSON files; later files change what earlier ones
// say. docs/config.md lists every key.
//
//   - Mappings merge key by key; other values replace. null takes a value back to its
//     default.
//   - Items of the lists disks, networks, shares, serials, fw_cfg and cloud_init.users merge
//     by their name, devices by their id: a later file changes what it mentions of an item,
//     or removes it with "remove: true". An item without a name is added, and no other file
//     can change it.
//   - Other lists are added to, each file's as a whole.
//   - What is the same in two files, a list or an item without a name, is kept once: merging
//     a file again changes nothing. It does not matter which files are merged first.
//   - The tag !replace before a list or mapping makes it replace instead.
//
// Paths are relative to the file that says them; a leading ~ is the home folder, and
// ${NAME} a variable of LoadOptions. Nothing is expanded in other values, such as args.
//
// Everything that is wrong in all files is reported at once, as an *errors.ConfigError
// whose problems have file, line and column; that includes what [Config.Validate] finds.
// A file that is missing is an errors.ErrConfigFileNotFound. A file may have 1 MiB, 32 levels
// and 10,000 values. Without paths, and of empty files, the result is the zero Config.
//
// Files of the Python maqet can be read: storage, arguments, vga and the short forms of cpu
// and display become what they mean in a Config. What has no such meaning is an error.
func LoadConfig(paths ...string) (Config, error) { return LoadConfigWith(LoadOptions{}, paths...) }

// LoadConfigWith is LoadConfig with options.
func LoadConfigWith(o LoadOptions, paths ...string) (Config, error) {
	l := newLoader(o)
	for _, path := range paths {
		if data, ok := l.read(path); ok {
			l.add(path, data)
		}
	}
	return l.config()
}

// ParseConfig is LoadConfig for the text of one file. The name is for messages, and its
// folder is what relative paths are relative to; it need not exist.
func ParseConfig(name string, data []byte) (Config, error) {
	l := newLoader(LoadOptions{})
	l.add(name, data)
	return l.config()
}

// loader merges files one after the other.
type loader struct {
	rules    *layered.Arranger
	order    map[string]int // of the files, for sorting problems
	merged   *layered.Node
	missing  bool // a file is not there
	broken   bool // a file could not be read, so that what is merged is not whole
	problems []errors.Problem
}

func newLoader(o LoadOptions) *loader {
	return &loader{order: map[string]int{},
		rules: layered.NewArranger(layered.Rules{Names: namedLists, Paths: pathFields, Vars: o.Vars})}
}

// add merges a file into what is there.
func (l *loader) add(name string, data []byte) {
	if _, known := l.order[name]; !known {
		l.order[name] = len(l.order)
	}
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		l.broken = true
		l.problems = append(l.problems, errors.Problem{File: name, Message: "has a folder that is not known: " + err.Error(), Fix: "give an absolute path"})
		return
	}
	root, problems := layered.Parse(name, dir, data)
	if len(problems) > 0 {
		l.broken = true
		l.problems = append(l.problems, problems...)
		return
	}
	l.problems = append(l.problems, convertPython(root, l.rules)...)
	l.problems = append(l.problems, l.rules.Arrange(root)...)
	// Each file is checked by itself: what is wrong in it is wrong though a later file
	// replaces it.
	l.problems = append(l.problems, layered.Decode(root, &Config{}, loadHints)...)
	if l.merged == nil {
		l.merged = layered.NewMap(root.Pos)
	}
	l.problems = append(l.problems, layered.Removals(l.merged, root)...)
	l.merged = layered.Merge(l.merged, root)
}

// config returns the result of all files, or everything that is wrong.
func (l *loader) config() (Config, error) {
	cfg, tree := l.decode()
	if tree != nil {
		l.validate(cfg, tree)
	}
	return l.result(cfg)
}

// decode returns the merged configuration and its tree; nil if there is none.
func (l *loader) decode() (Config, *layered.Node) {
	var cfg Config
	if l.merged == nil || l.broken {
		return cfg, nil
	}
	tree := layered.Finish(l.merged)
	problems := layered.Decode(tree, &cfg, loadHints)
	if len(l.problems) == 0 { // else they are those of the single files
		l.problems = problems
	}
	return cfg, tree
}

func (l *loader) result(cfg Config) (Config, error) {
	if len(l.problems) == 0 {
		return cfg, nil
	}
	slices.SortStableFunc(l.problems, func(a, b errors.Problem) int {
		return cmp.Or(cmp.Compare(l.order[a.File], l.order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	bad := &errors.ConfigError{VM: cfg.Name, Problems: slices.Compact(l.problems)}
	if l.missing {
		bad.Kind = errors.ErrConfigFileNotFound
	}
	return Config{}, bad
}

// validate adds what is wrong with the merged configuration, with the place that each
// value came from. Of a part that has problems already it says nothing: what was not
// understood looks like missing.
func (l *loader) validate(cfg Config, tree *layered.Node) {
	var bad *errors.ConfigError
	if !errors.As(cfg.Validate(), &bad) {
		return
	}
	known := map[string]bool{}
	for _, p := range l.problems {
		known[topKey(p.Field)] = true
	}
	for _, p := range bad.Problems {
		if known[topKey(p.Field)] {
			continue
		}
		tree.Find(p.Field).Locate(&p)
		l.problems = append(l.problems, p)
	}
}

// topKey returns the first key of a field's name.
func topKey(field string) string {
	if end := strings.IndexAny(field, ".["); end >= 0 {
		return field[:end]
	}
	return field
}
