package layered

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/maqet/maqet/errors"
)

// Decode fills into, a pointer to a struct, from a tree. Keys are the names in the struct's
// yaml tags. A null leaves what is there; a type with UnmarshalText reads texts and numbers.
func Decode(n *Node, into any, hints Hints) []errors.Problem {
	d := &decoder{hints: hints, types: map[reflect.Type][]structField{}}
	d.value(n, reflect.ValueOf(into).Elem(), "", "")
	return d.problems
}

// Hints say what to write instead of what is wrong, by its place as in [Rules].
type Hints struct {
	Keys  map[string]string // of a key that is not known
	Forms map[string]string // of a value that is not of the right kind
}

type decoder struct {
	hints    Hints
	types    map[reflect.Type][]structField
	problems []errors.Problem
}

type structField struct {
	name  string
	index int
}

func (d *decoder) add(n *Node, field, value, message, fix string) {
	d.problems = append(d.problems, n.Pos.Problem(field, value, message, fix))
}

// mismatch says that n is not what it has to be.
func (d *decoder) mismatch(n *Node, place, field, want, fix string) {
	if hint := d.hints.Forms[place]; hint != "" {
		fix = hint
	}
	value := ""
	if n.Kind == Scalar {
		value = n.Text
	}
	d.add(n, field, value, "is "+describe(n)+", not "+want, fix)
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// value fills into from n; place is where it is by the names of Rules.
func (d *decoder) value(n *Node, into reflect.Value, place, field string) {
	if n.Kind == Null {
		return
	}
	if into.Kind() == reflect.Pointer {
		fresh := reflect.New(into.Type().Elem())
		d.value(n, fresh.Elem(), place, field)
		into.Set(fresh)
		return
	}
	if into.CanAddr() && into.Addr().Type().Implements(textType) {
		d.text(n, into.Addr().Interface().(encoding.TextUnmarshaler), place, field)
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.object(n, into, place, field)
	case reflect.Map:
		d.mapping(n, into, place, field)
	case reflect.Slice:
		d.list(n, into, place, field)
	case reflect.Interface:
		d.any(n, into, field)
	default:
		d.scalar(n, into, place, field)
	}
}

func (d *decoder) object(n *Node, into reflect.Value, place, field string) {
	if n.Kind != Map {
		d.mismatch(n, place, field, "a mapping", "write its keys in lines of their own below it, or as {key: value}")
		return
	}
	fields := d.fields(into.Type())
	for _, e := range n.Entries {
		index := -1
		for _, f := range fields {
			if f.name == e.Key {
				index = f.index
			}
		}
		if index < 0 {
			d.unknown(e, fields, Join(place, e.Key), Join(field, e.Key))
			continue
		}
		d.value(e.Value, into.Field(index), Join(place, e.Key), Join(field, e.Key))
	}
}

func (d *decoder) fields(t reflect.Type) []structField {
	if known, ok := d.types[t]; ok {
		return known
	}
	var fields []structField
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields = append(fields, structField{name, i})
		}
	}
	d.types[t] = fields
	return fields
}

func (d *decoder) unknown(e Entry, fields []structField, place, field string) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	near := Nearest(e.Key, names)
	fix := d.hints.Keys[place]
	switch {
	case fix != "":
		near = ""
	case near != "":
		fix = fmt.Sprintf("did you mean %s?", near)
	default:
		fix = "known here: " + strings.Join(names, ", ")
	}
	problem := e.At.Problem(field, "", "is not a known key", fix)
	problem.Nearest = near
	d.problems = append(d.problems, problem)
}

func (d *decoder) mapping(n *Node, into reflect.Value, place, field string) {
	if n.Kind != Map {
		d.mismatch(n, place, field, "a mapping", "write its keys in lines of their own below it, or as {key: value}")
		return
	}
	out := reflect.MakeMapWithSize(into.Type(), len(n.Entries))
	for _, e := range n.Entries {
		if e.Value.Kind == Null {
			continue
		}
		value := reflect.New(into.Type().Elem()).Elem()
		d.value(e.Value, value, place+"{}", Keyed(field, e.Key))
		out.SetMapIndex(reflect.ValueOf(e.Key).Convert(into.Type().Key()), value)
	}
	into.Set(out)
}

func (d *decoder) list(n *Node, into reflect.Value, place, field string) {
	if n.Kind != List {
		d.mismatch(n, place, field, "a list", "write each item in a line of its own, with a dash in front, or as [item, item]")
		return
	}
	items := n.Items()
	out := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", field, i)
		if item.Kind == Null {
			d.add(item, at, "", "is empty", "remove the item, or write {} for one with every default")
			continue
		}
		d.value(item, out.Index(i), place+"[]", at)
	}
	into.Set(out)
}
