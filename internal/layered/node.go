package layered

import (
	"slices"
	"strconv"
	"strings"
)

// Kind is what a node is.
type Kind int

// Kinds of [Node].
const (
	Null Kind = iota
	Scalar
	Map
	List
)

// Node is a value in a file.
type Node struct {
	Kind Kind
	Pos  Pos
	// Value of a Scalar: string, bool, int64, uint64, float64, or Huge.
	Value any
	// Text of a Scalar, as it is written but for quotes.
	Text string
	// Entries of a Map, in the order of the file.
	Entries []Entry
	// Parts of a List; see [Part].
	Parts []Part
	// Cut says that the node does not merge with what earlier files have in its place.
	Cut bool
}

// Huge is the value of a whole number that has more than 64 bits.
type Huge struct{}

// Entry is one line of a Map.
type Entry struct {
	Key   string
	At    Pos // of the key
	Value *Node
}

// Part is what a List is merged by. A list that was read is one part. [Arranger.Arrange] makes
// a part of each item of a list whose items have names.
type Part struct {
	// Name identifies an item that later files can change or remove. Empty: the part is kept
	// as it is; one that has the same content comes from the same file, and is kept once.
	Name string
	// Gone stands for an item that is removed.
	Gone bool
	// At is where the item's name is.
	At     Pos
	Values []*Node // one, of a part with a name

	content string // of a part without a name: what it is compared by
}

// NewText returns a Scalar.
func NewText(text string, at Pos) *Node {
	return &Node{Kind: Scalar, Pos: at, Value: text, Text: text}
}

// NewBool returns a Scalar.
func NewBool(b bool, at Pos) *Node {
	return &Node{Kind: Scalar, Pos: at, Value: b, Text: strconv.FormatBool(b)}
}

// NewMap returns an empty Map.
func NewMap(at Pos) *Node { return &Node{Kind: Map, Pos: at} }

// NewList returns a List of items.
func NewList(at Pos, items ...*Node) *Node {
	return &Node{Kind: List, Pos: at, Parts: []Part{{Values: items}}}
}

// Get returns the value of a Map's key, or nil.
func (n *Node) Get(key string) *Node {
	if i := n.index(key); i >= 0 {
		return n.Entries[i].Value
	}
	return nil
}

// Set gives a Map's key a value.
func (n *Node) Set(key string, at Pos, value *Node) {
	if i := n.index(key); i >= 0 {
		n.Entries[i] = Entry{Key: key, At: at, Value: value}
		return
	}
	n.Entries = append(n.Entries, Entry{Key: key, At: at, Value: value})
}

// Take removes a key from a Map and returns its entry; ok says whether it was there.
func (n *Node) Take(key string) (e Entry, ok bool) {
	i := n.index(key)
	if i < 0 {
		return Entry{}, false
	}
	e = n.Entries[i]
	n.Entries = slices.Delete(slices.Clone(n.Entries), i, i+1)
	return e, true
}

func (n *Node) index(key string) int {
	if n == nil || n.Kind != Map {
		return -1
	}
	return slices.IndexFunc(n.Entries, func(e Entry) bool { return e.Key == key })
}

// Items returns a List's values, of all its parts.
func (n *Node) Items() []*Node {
	var items []*Node
	for _, p := range n.Parts {
		if !p.Gone {
			items = append(items, p.Values...)
		}
	}
	return items
}

// Append adds items to a List that was read.
func (n *Node) Append(items ...*Node) {
	if len(n.Parts) == 0 {
		n.Parts = []Part{{}}
	}
	n.Parts[0].Values = append(n.Parts[0].Values, items...)
}

// clone copies a node with all that is below it.
func (n *Node) clone() *Node {
	c := *n
	c.Entries, c.Parts = slices.Clone(n.Entries), slices.Clone(n.Parts)
	for i := range c.Entries {
		c.Entries[i].Value = c.Entries[i].Value.clone()
	}
	for i := range c.Parts {
		c.Parts[i].Values = slices.Clone(c.Parts[i].Values)
		for j, v := range c.Parts[i].Values {
			c.Parts[i].Values[j] = v.clone()
		}
	}
	return &c
}

// size is how many nodes there are from n downward.
func (n *Node) size() int {
	total := 1
	for _, e := range n.Entries {
		total += e.Value.size()
	}
	for _, p := range n.Parts {
		for _, v := range p.Values {
			total += v.size()
		}
	}
	return total
}

// content renders what a node says, wherever it stands: equal texts, equal nodes.
func (n *Node) content(b *strings.Builder) {
	if n.Cut {
		b.WriteByte('!')
	}
	switch n.Kind {
	case Null:
		b.WriteByte('~')
	case Scalar:
		if _, isText := n.Value.(string); isText {
			b.WriteString(strconv.Quote(n.Text))
		} else {
			b.WriteString(n.Text)
		}
	case Map:
		b.WriteByte('{')
		entries := slices.SortedFunc(slices.Values(n.Entries), func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
		for _, e := range entries {
			b.WriteString(strconv.Quote(e.Key) + ":")
			e.Value.content(b)
			b.WriteByte(',')
		}
		b.WriteByte('}')
	case List:
		b.WriteByte('[')
		for _, p := range n.Parts {
			p.render(b)
			b.WriteByte(';')
		}
		b.WriteByte(']')
	}
}

func (p Part) render(b *strings.Builder) {
	if p.Name != "" {
		b.WriteString(strconv.Quote(p.Name) + "=")
	}
	if p.Gone {
		b.WriteByte('-')
	}
	for _, v := range p.Values {
		v.content(b)
		b.WriteByte(',')
	}
}

// String renders the tree, without places.
func (n *Node) String() string {
	var b strings.Builder
	n.content(&b)
	return b.String()
}
