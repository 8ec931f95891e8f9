package configdoc

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/maqet/maqet/internal/layered"
	"github.com/maqet/maqet/vm"
)

// Key is one key of a configuration.
type Key struct {
	Name    string // "size"
	Place   string // "disks[].size"
	Type    reflect.Type
	Comment string
	Default string
	Example string   // as YAML, on one line
	Words   []string // the only values there are, if there is such a list
	// Needed says that there is no default.
	Needed bool
}

// Section is a mapping with its keys.
type Section struct {
	Place   string // "" for the configuration itself
	Type    reflect.Type
	Comment string
	Keys    []Key
}

// Read returns the sections of a configuration, from the repository in root. An error says
// which key has no comment, default or example.
func Read(root string) ([]Section, error) {
	said, err := comments(filepath.Join(root, "vm"))
	if err != nil {
		return nil, err
	}
	shown, err := examples(filepath.Join(root, "vm", "testdata", "every-key.yaml"))
	if err != nil {
		return nil, err
	}
	r := &describer{comments: said, examples: shown}
	r.section("", reflect.TypeFor[vm.Config]())
	r.nameKeys()
	if len(r.missing) > 0 {
		return nil, fmt.Errorf("give these a comment in package vm that says what they are, and an example in vm/testdata/every-key.yaml: %s", strings.Join(r.missing, ", "))
	}
	return r.sections, nil
}

type describer struct {
	comments map[string]string
	examples map[string]string
	sections []Section
	missing  []string
}

func (r *describer) section(place string, typ reflect.Type) {
	s := Section{Place: place, Type: typ, Comment: r.comments[typ.Name()]}
	at := len(r.sections)
	r.sections = append(r.sections, s)
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		key := Key{Name: name, Place: layered.Join(place, name), Type: f.Type, Comment: r.comments[typ.Name()+"."+f.Name],
			Needed: !strings.Contains(options, "omitempty")}
		inner := element(f.Type)
		if inner.Kind() == reflect.Struct && !strings.HasPrefix(key.Comment, f.Name) {
			key.Comment = firstSentence(r.comments[inner.Name()]) // the rest is above its keys
		}
		key.Words = alternatives(key.Comment)
		if f.Type == reflect.TypeFor[vm.Lifetime]() {
			key.Words = []string{string(vm.Ephemeral), string(vm.Persistent)}
		}
		if key.Default = defaultOf(key); key.Needed {
			key.Default = "has to be given"
		}
		key.Example = r.examples[key.Place]
		if key.Comment == "" && !obvious(typ, name) || key.Example == "" {
			r.missing = append(r.missing, key.Place)
		}
		s.Keys = append(s.Keys, key)
	}
	r.sections[at] = s
	for _, key := range s.Keys {
		if inner := element(key.Type); inner.Kind() == reflect.Struct {
			below := key.Place
			if key.Type.Kind() == reflect.Slice {
				below += "[]"
			}
			r.section(below, inner)
		}
	}
}

func firstSentence(text string) string {
	if first, _, more := strings.Cut(text, ". "); more {
		return first + "."
	}
	return text
}

// obvious are keys that their section's comment explains.
func obvious(section reflect.Type, name string) bool {
	return section == reflect.TypeFor[vm.SMBIOS]() || section == reflect.TypeFor[vm.Throttle]() ||
		section == reflect.TypeFor[vm.CPU]() || section == reflect.TypeFor[vm.Device]() ||
		section == reflect.TypeFor[vm.FwCfg]() || name == "name" || name == "text" || name == "disabled" || name == "hostname" || name == "groups"
}

// element is the type of a list's items, or what a pointer points to.
func element(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t
}

// defaultOf is what the comment says, or the zero value in words.
func defaultOf(k Key) string {
	t := k.Type
	switch {
	case t == reflect.TypeFor[vm.Lifetime]():
		return string(vm.Ephemeral)
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return "none"
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		return "none"
	case t.Kind() == reflect.Struct:
		return "its keys' defaults"
	case t.Kind() == reflect.Bool:
		return "false"
	}
	if said := byDefault(k.Comment); said != "" {
		return said
	}
	switch {
	case t == reflect.TypeFor[vm.Size]() || t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		return "0"
	default:
		return "empty"
	}
}

// typeName is a key's type in words.
func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[vm.Size]():
		return "size"
	case reflect.TypeFor[vm.Duration]():
		return "duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		return "list of " + typeName(t.Elem())
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return "mapping of any values"
		}
		return "mapping of texts"
	case reflect.Struct:
		return "mapping"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "text"
	default:
		return "number"
	}
}

// Files returns the generated files by their paths in the repository, which is in root.
func Files(root string) (map[string][]byte, error) {
	sections, err := Read(root)
	if err != nil {
		return nil, err
	}
	schema, err := Schema(sections)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"maqet.schema.json": schema, filepath.Join("docs", "config.md"): Markdown(sections)}, nil
}
