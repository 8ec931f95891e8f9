package layered

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Tags that a file may use.
const (
	tagReplace = "!replace" // replaces what earlier files have, instead of merging with it
	tagText    = "!!str"    // makes a text of what looks like a number
)

// node returns the tree below n.
func (r *reader) node(n ast.Node, depth int) *Node {
	out := &Node{Kind: Null, Pos: r.pos(n)}
	if depth > MaxDepth {
		r.deep(out.Pos)
	}
	if r.nodes++; r.nodes > MaxNodes {
		r.many(out.Pos)
	}
	if r.full {
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		r.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		r.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		r.sequence(out, n.Values, depth)
	case *ast.AnchorNode:
		r.nodes--
		out = r.node(n.Value, depth)
		r.anchors[n.Name.GetToken().Value] = out
	case *ast.AliasNode:
		return r.alias(out, n)
	case *ast.TagNode:
		return r.tagged(out, n, depth)
	case *ast.LiteralNode:
		out.Kind, out.Value, out.Text = Scalar, n.Value.Value, n.Value.Value
	default:
		r.scalar(out, n.GetToken())
	}
	return out
}

func (r *reader) scalar(out *Node, t *token.Token) {
	out.Text = t.Value
	if t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType {
		out.Kind, out.Value = Scalar, t.Value
		return
	}
	if out.Value = plainValue(t.Value); out.Value != nil {
		out.Kind = Scalar
	}
}

func (r *reader) mapping(out *Node, values []*ast.MappingValueNode, depth int) {
	out.Kind = Map
	seen := make(map[string]Pos, len(values))
	for _, v := range values {
		at := r.pos(v.Key)
		key, ok := r.key(v.Key, at)
		if !ok {
			continue
		}
		if first, twice := seen[key]; twice {
			r.add(at, fmt.Sprintf("key %q is given twice, first in line %d", key, first.Line), "keep one of them")
			continue
		}
		seen[key] = at
		out.Entries = append(out.Entries, Entry{Key: key, At: at, Value: r.node(v.Value, depth+1)})
		if r.full {
			return
		}
	}
}

// key returns the text of a key.
func (r *reader) key(n ast.MapKeyNode, at Pos) (string, bool) {
	switch n := n.(type) {
	case *ast.MergeKeyNode:
		r.add(at, "merge keys (<<) are not part of YAML 1.2", "put what is shared in a file of its own: files merge")
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	default:
		r.add(at, "is not a key", "write it as key: value, the key without ?, & and *")
	}
	return "", false
}

func (r *reader) sequence(out *Node, values []ast.Node, depth int) {
	items := make([]*Node, 0, len(values))
	for _, v := range values {
		items = append(items, r.node(v, depth+1))
		if r.full {
			break
		}
	}
	out.Kind, out.Parts = List, []Part{{Values: items}}
}

// alias returns a copy of what an anchor before it names, so that each has its own place
// in the configuration. It can't name what it stands in: that is not read yet.
func (r *reader) alias(out *Node, n *ast.AliasNode) *Node {
	name := n.Value.GetToken().Value
	target, ok := r.anchors[name]
	if !ok {
		r.add(out.Pos, fmt.Sprintf("*%s names no anchor that stands before it", name), "write &"+name+" in front of the value that is meant, or put the text in quotes")
		return out
	}
	if r.nodes += target.size() - 1; r.nodes > MaxNodes {
		r.many(out.Pos)
		return out
	}
	return target.clone()
}

func (r *reader) tagged(out *Node, n *ast.TagNode, depth int) *Node {
	tag := n.Start.Value
	r.nodes--
	value := out
	if n.Value != nil {
		value = r.node(n.Value, depth)
	}
	switch {
	case r.full:
	case tag == tagReplace && (value.Kind == List || value.Kind == Map):
		value.Cut = true
	case tag == tagReplace:
		r.add(out.Pos, tagReplace+" is for lists and mappings", "leave it out: other values always replace")
	case tag == tagText && value.Kind == Scalar:
		value.Value = value.Text
	default:
		r.add(out.Pos, "the tag "+tag+" means nothing here", "remove it; only !replace before a list or a mapping, and !!str before a text, do")
	}
	return value
}
