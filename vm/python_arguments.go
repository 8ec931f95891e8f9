package vm

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/internal/layered"
)

// option is one of QEMU's options, as an item of the Python maqet's arguments gives it.
type option struct {
	name  string
	field string
	at    layered.Pos
	bare  bool   // it has no value
	value string // as QEMU parses it
	head  string // the part of value that has no key
	pairs []pair
}

// pair is a key and value of an option.
type pair struct {
	key, value string
	bare       bool // it stands without "=", by which QEMU means on
	twice      bool // an earlier one says the same thing, or another
}

// arguments turns the list of QEMU options into fields where a Config has one, and into
// Args where not.
func (p *python) arguments(e layered.Entry) {
	if e.Value.Kind == layered.Null {
		return
	}
	if e.Value.Kind != layered.List {
		p.add(e.At, "arguments", "", "is not a list", "write each option in a line of its own, with a dash in front")
		return
	}
	kernel, initrd := false, false
	for i, item := range e.Value.Items() {
		o, ok := p.option(item, fmt.Sprintf("arguments[%d]", i))
		if !ok {
			continue
		}
		kernel, initrd = kernel || o.name == "kernel", initrd || o.name == "initrd"
		p.place(o)
	}
	if kernel && !initrd && p.root.Get("boot").Get("initrd") == nil {
		// The Python maqet added no initial RAM disk of its own.
		p.put("arguments", "boot.initrd", layered.NewText("none", e.At))
	}
}

// option reads one item: a text is an option without a value; the first key of a mapping is
// the option, its value what stands without a key, and other keys are the option's own.
func (p *python) option(item *layered.Node, field string) (option, bool) {
	o := option{field: field, at: item.Pos, bare: true}
	switch {
	case item.Kind == layered.Scalar:
		o.name = strings.TrimLeft(item.Text, "-")
		if strings.ContainsAny(o.name, " \t") {
			p.add(item.Pos, field, item.Text, "has an option and a value in one text", "write a mapping: option: value")
			return o, false
		}
		return o, o.name != ""
	case item.Kind != layered.Map || len(item.Entries) == 0:
		p.add(item.Pos, field, "", "is not an option", "write option, or option: value")
		return o, false
	}
	for _, e := range item.Entries {
		if !p.flat(e.Value, layered.Join(field, e.Key)) {
			return o, false
		}
	}
	first := item.Entries[0]
	o.name, o.at = strings.TrimLeft(first.Key, "-"), first.At
	switch v := first.Value; v.Kind {
	case layered.Null:
	case layered.Scalar:
		o.bare = false
		o.value = plainText(v)
		o.head, o.pairs = splitOption(o.value)
	case layered.Map:
		o.bare = false
		o.flatten("", v)
	case layered.List:
		o.bare = false
		var words []string
		for _, w := range v.Items() {
			words = append(words, plainText(w))
		}
		o.value = strings.Join(words, ",")
		o.head, o.pairs = splitOption(o.value)
	}
	if len(item.Entries) > 1 {
		o.bare = false
		rest := *item
		rest.Entries = item.Entries[1:]
		o.flatten("", &rest)
	}
	if o.value == "" && !o.bare {
		o.value = o.render()
	} else if len(item.Entries) > 1 {
		o.value = o.render()
	}
	return o, true
}

// flat reports whether the lists below a mapping hold single values only: others have no
// text, and would be lost.
func (p *python) flat(n *layered.Node, field string) bool {
	for i, item := range n.Items() {
		if item.Kind != layered.Scalar {
			p.add(item.Pos, fmt.Sprintf("%s[%d]", field, i), "", "is not a single value", "write the option's keys as a mapping, not as a list")
			return false
		}
	}
	for _, e := range n.Entries {
		if !p.flat(e.Value, layered.Join(field, e.Key)) {
			return false
		}
	}
	return true
}

// flatten adds a mapping's keys; deeper ones are joined by dots. A first key without a value
// is the option's head.
func (o *option) flatten(prefix string, m *layered.Node) {
	for i, e := range m.Entries {
		key := prefix + e.Key
		switch v := e.Value; v.Kind {
		case layered.Null:
			if i == 0 && prefix == "" && o.head == "" && len(o.pairs) == 0 {
				o.head = key
			} else {
				o.pairs = append(o.pairs, pair{key: key, bare: true})
			}
		case layered.Scalar:
			o.pairs = append(o.pairs, pair{key: key, value: plainText(v)})
		case layered.Map:
			o.flatten(key+".", v)
		case layered.List:
			for _, item := range v.Items() {
				o.pairs = append(o.pairs, pair{key: key + "." + plainText(item), bare: true})
			}
		}
	}
}

// plainText is a scalar as QEMU writes it: its switches are on and off, which older YAML
// took for true and false.
func plainText(n *layered.Node) string {
	if b, isBool := n.Value.(bool); isBool {
		if b {
			return "on"
		}
		return "off"
	}
	return n.Text
}

// splitOption reads "head,key=value,..."; a comma in a value is written twice.
func splitOption(text string) (head string, pairs []pair) {
	const comma = "\x00" // no text of a file has it
	for i, part := range strings.Split(strings.ReplaceAll(text, ",,", comma), ",") {
		part = strings.ReplaceAll(part, comma, ",")
		key, value, isPair := strings.Cut(part, "=")
		switch {
		case isPair:
			pairs = append(pairs, pair{key: key, value: value})
		case i == 0:
			head = part
		default:
			pairs = append(pairs, pair{key: part, bare: true})
		}
	}
	return head, pairs
}

// render writes the option as QEMU parses it.
func (o *option) render() string {
	var parts []string
	if o.head != "" {
		parts = append(parts, strings.ReplaceAll(o.head, ",", ",,"))
	}
	for _, p := range o.pairs {
		if p.bare {
			parts = append(parts, p.key)
			continue
		}
		parts = append(parts, p.key+"="+strings.ReplaceAll(p.value, ",", ",,"))
	}
	return strings.Join(parts, ",")
}

// take returns the value of the first of some keys, and removes it. What else says the same
// stays, and so does a key without a value: leftOver reports them.
func (o *option) take(keys ...string) string {
	found := -1
	for i, p := range o.pairs {
		switch {
		case !slices.Contains(keys, p.key):
		case found >= 0:
			o.pairs[i].twice = true
		case !p.bare:
			found = i
		}
	}
	if found < 0 {
		return ""
	}
	value := o.pairs[found].value
	o.pairs = slices.Delete(o.pairs, found, found+1)
	return value
}

// takeSwitch is take of what is on or off. Another value stays.
func (o *option) takeSwitch(keys ...string) (on, ok bool) {
	for i, p := range o.pairs {
		if !slices.Contains(keys, p.key) {
			continue
		}
		if on, ok = p.bare, p.bare; !ok {
			on, ok = switchOf(p.value)
		}
		if ok {
			o.pairs = slices.Delete(o.pairs, i, i+1)
		}
		break
	}
	for i, p := range o.pairs {
		o.pairs[i].twice = p.twice || ok && slices.Contains(keys, p.key)
	}
	return on, ok
}

// main returns the option's head, or where there is none the value of the key that it is
// short for.
func (o *option) main(key string) string {
	if o.head == "" {
		return o.take(key)
	}
	for i, p := range o.pairs {
		o.pairs[i].twice = p.twice || p.key == key
	}
	return o.head
}

// filesIn resolves the paths in a raw option, as the Python maqet did: of file= and path=,
// and of a socket in front. What has a colon is no path.
func (p *python) filesIn(o *option) {
	dir := o.at.Source.Dir
	absolute := func(path string) string {
		if path == "" || filepath.IsAbs(path) || strings.ContainsRune(path, ':') {
			return path
		}
		return filepath.Join(dir, path)
	}
	changed := false
	for i, kv := range o.pairs {
		if kv.key == "file" || kv.key == "path" {
			o.pairs[i].value = absolute(kv.value)
			changed = changed || o.pairs[i].value != kv.value
		}
	}
	if socket, ok := strings.CutPrefix(o.head, "unix:"); ok {
		o.head = "unix:" + absolute(socket)
		changed = true
	}
	if o.name == "dtb" || o.name == "rom" || o.name == "option-rom" {
		o.head, changed = absolute(o.head), true
	}
	if changed {
		o.value = o.render()
	}
}
