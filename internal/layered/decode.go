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
	d := &decoder{hints: hints, types: map[reflect.Type]map[string]int{}}
	d.value(n, reflect.ValueOf(into).Elem())
	return d.problems
}

// Hints say what to write instead of what is wrong, by its place as in [Rules].
type Hints struct {
	Keys  map[string]string // of a key that is not known
	Forms map[string]string // of a value that is not of the right kind
}

type decoder struct {
	at       trail
	hints    Hints
	types    map[reflect.Type]map[string]int // index of each field by its key
	problems []errors.Problem
}

func (d *decoder) add(n *Node, value, message, fix string) {
	d.problems = append(d.problems, n.Pos.Problem(d.at.field(), value, message, fix))
}

// mismatch says that n is not what it has to be.
func (d *decoder) mismatch(n *Node, want, fix string) {
	if hint := d.hints.Forms[d.at.place()]; hint != "" {
		fix = hint
	}
	value := ""
	if n.Kind == Scalar {
		value = n.Text
	}
	d.add(n, value, "is "+describe(n)+", not "+want, fix)
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// value fills into from n.
func (d *decoder) value(n *Node, into reflect.Value) {
	if n.Kind == Null {
		return
	}
	if into.Kind() == reflect.Pointer {
		fresh := reflect.New(into.Type().Elem())
		d.value(n, fresh.Elem())
		into.Set(fresh)
		return
	}
	if into.CanAddr() && into.Addr().Type().Implements(textType) {
		d.text(n, into.Addr().Interface().(encoding.TextUnmarshaler))
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.object(n, into)
	case reflect.Map:
		d.mapping(n, into)
	case reflect.Slice:
		d.list(n, into)
	case reflect.Interface:
		d.any(n, into)
	default:
		d.scalar(n, into)
	}
}

func (d *decoder) object(n *Node, into reflect.Value) {
	if n.Kind != Map {
		d.mismatch(n, "a mapping", "write its keys in lines of their own below it, or as {key: value}")
		return
	}
	fields := d.fields(into.Type())
	for _, e := range n.Entries {
		d.at.key(e.Key)
		if i, ok := fields[e.Key]; ok {
			d.value(e.Value, into.Field(i))
		} else {
			d.unknown(e, into.Type())
		}
		d.at.back()
	}
}

// keyOf returns the key of a struct's field, "" if it has none.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimSuffix(key, "-")
}

func (d *decoder) fields(t reflect.Type) map[string]int {
	if known, ok := d.types[t]; ok {
		return known
	}
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			fields[key] = i
		}
	}
	d.types[t] = fields
	return fields
}

func (d *decoder) unknown(e Entry, t reflect.Type) {
	var names []string
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			names = append(names, key)
		}
	}
	near := Nearest(e.Key, names)
	fix := d.hints.Keys[d.at.place()]
	switch {
	case fix != "":
		near = ""
	case near != "":
		fix = fmt.Sprintf("did you mean %s?", near)
	default:
		fix = "known here: " + strings.Join(names, ", ")
	}
	problem := e.At.Problem(d.at.field(), "", "is not a known key", fix)
	problem.Nearest = near
	d.problems = append(d.problems, problem)
}

func (d *decoder) mapping(n *Node, into reflect.Value) {
	if n.Kind != Map {
		d.mismatch(n, "a mapping", "write its keys in lines of their own below it, or as {key: value}")
		return
	}
	out := reflect.MakeMapWithSize(into.Type(), len(n.Entries))
	for _, e := range n.Entries {
		if e.Value.Kind == Null {
			continue
		}
		value := reflect.New(into.Type().Elem()).Elem()
		d.at.own(e.Key)
		d.value(e.Value, value)
		d.at.back()
		out.SetMapIndex(reflect.ValueOf(e.Key).Convert(into.Type().Key()), value)
	}
	into.Set(out)
}

func (d *decoder) list(n *Node, into reflect.Value) {
	if n.Kind != List {
		d.mismatch(n, "a list", "write each item in a line of its own, with a dash in front, or as [item, item]")
		return
	}
	items := n.Items()
	out := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		d.at.item(i)
		if item.Kind == Null {
			d.add(item, "", "is empty", "remove the item, or write {} for one with every default")
		}
		d.value(item, out.Index(i))
		d.at.back()
	}
	into.Set(out)
}
