package process

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/maqet/maqet/vm"
)

// textField is a place in a vm.Config that holds text of the user's.
type textField struct {
	// path is the place as problems name it, without indexes: "disks[].path". The keys and
	// the values of a map are places of their own: "labels{key}" and "labels{value}".
	path  string
	steps []step
}

// step leads from a value to one inside of it.
type step struct {
	field int // of a struct, where kind is 0
	kind  byte
}

// Kinds of steps other than to a field.
const (
	intoItem    = 'i' // of a slice
	behind      = 'p' // a pointer
	ofMapKey    = 'k'
	ofMapValue  = 'v'
	intoAnyText = 'a' // an interface that can hold a text
)

// textFields finds all places for texts in a Config. A new field of Config is found, too.
func textFields() []textField {
	var out []textField
	collect(reflect.TypeFor[vm.Config](), textField{}, &out)
	return out
}

func collect(t reflect.Type, at textField, out *[]textField) {
	deeper := func(name string, s step) textField {
		return textField{at.path + name, append(append([]step{}, at.steps...), s)}
	}
	switch t.Kind() {
	case reflect.String:
		*out = append(*out, at)
	case reflect.Interface:
		*out = append(*out, deeper("", step{kind: intoAnyText}))
	case reflect.Pointer:
		collect(t.Elem(), deeper("", step{kind: behind}), out)
	case reflect.Slice:
		collect(t.Elem(), deeper("[]", step{kind: intoItem}), out)
	case reflect.Map:
		*out = append(*out, deeper("{key}", step{kind: ofMapKey}))
		collect(t.Elem(), deeper("{value}", step{kind: ofMapValue}), out)
	case reflect.Struct:
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if at.path != "" {
				name = "." + name
			}
			collect(t.Field(i).Type, deeper(name, step{field: i}), out)
		}
	}
}

// parent is the field as problems name it: "disks[0].path", or for a map all of it.
func (f textField) parent(item int) string {
	path, _, _ := strings.Cut(f.path, "{")
	path = strings.Replace(path, "[]", fmt.Sprintf("[%d]", item), 1)
	return strings.ReplaceAll(path, "[]", "[0]")
}

// set puts text there, and makes what is missing on the way. item is the index in the first
// list on the way; all others are 0.
func (f textField) set(cfg *vm.Config, item int, text string) {
	put(reflect.ValueOf(cfg).Elem(), f.steps, item, text)
}

func put(v reflect.Value, steps []step, item int, text string) {
	if len(steps) == 0 {
		v.SetString(text)
		return
	}
	s, rest := steps[0], steps[1:]
	switch s.kind {
	case intoAnyText:
		v.Set(reflect.ValueOf(text))
	case behind:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		put(v.Elem(), rest, item, text)
	case intoItem:
		for v.Len() <= item {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		put(v.Index(item), rest, 0, text)
	case ofMapKey:
		putInMap(v, reflect.ValueOf(text), reflect.Zero(v.Type().Elem()))
	case ofMapValue:
		value := reflect.New(v.Type().Elem()).Elem()
		put(value, rest, 0, text)
		putInMap(v, reflect.ValueOf("name"), value)
	default:
		put(v.Field(s.field), rest, item, text)
	}
}

// putInMap adds to a copy: the map may be that of another Config.
func putInMap(m, key, value reflect.Value) {
	fresh := reflect.MakeMap(m.Type())
	for _, k := range m.MapKeys() {
		fresh.SetMapIndex(k, m.MapIndex(k))
	}
	fresh.SetMapIndex(key, value)
	m.Set(fresh)
}
