package layered

import (
	"strconv"
	"strings"
)

// Find returns the place of a field, named as in messages: "disks[0].path", "labels[a.b]". Of
// one that is not in the tree it is that of the nearest part around it which is.
func (n *Node) Find(field string) Pos {
	at := n.Pos
	for field != "" && n != nil {
		var next *Node
		var pos Pos
		if key, rest, ok := bracketed(field); ok {
			next, pos = n.item(key)
			field = rest
		} else {
			end := strings.IndexAny(field, ".[")
			if end < 0 {
				end = len(field)
			}
			next, pos = n.entry(field[:end])
			field = field[end:]
		}
		if next == nil {
			break
		}
		field = strings.TrimPrefix(field, ".")
		n, at = next, pos
	}
	return at
}

// bracketed splits "[key]rest". A key that has brackets itself ends at the last one that
// something can follow.
func bracketed(field string) (key, rest string, ok bool) {
	inner, ok := strings.CutPrefix(field, "[")
	if !ok {
		return "", "", false
	}
	for i := range len(inner) {
		if inner[i] == ']' && (i+1 == len(inner) || inner[i+1] == '.' || inner[i+1] == '[') {
			return inner[:i], inner[i+1:], true
		}
	}
	return "", "", false
}

func (n *Node) item(key string) (*Node, Pos) {
	if n.Kind != List {
		return n.entry(key)
	}
	i, err := strconv.Atoi(key)
	items := n.Items()
	if err != nil || i < 0 || i >= len(items) {
		return nil, Pos{}
	}
	return items[i], items[i].Pos
}

// entry returns a key's value and where to point at: a single value, or the key of more.
func (n *Node) entry(key string) (*Node, Pos) {
	i := n.index(key)
	if i < 0 {
		return nil, Pos{}
	}
	e := n.Entries[i]
	if e.Value.Kind == Scalar && e.Value.Pos.Source != nil {
		return e.Value, e.Value.Pos
	}
	return e.Value, e.At
}
