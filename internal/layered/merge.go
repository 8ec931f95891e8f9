package layered

// Merge returns what a later file makes of an earlier one; both stay as they are.
//
//   - Maps merge key by key.
//   - Lists merge part by part: a part with a name merges with, or removes, the earlier part
//     of that name; another part is added, unless the same one is there already.
//   - Everything else replaces what was there, and so does a node with Cut.
//
// What replaces has Cut itself afterwards, so that it does not matter which two of three
// files are merged first. A null stays, and so does what is removed, until [Finish].
func Merge(earlier, later *Node) *Node {
	switch {
	case later.Cut || later.Kind == Scalar || later.Kind == Null:
		return later
	case earlier.Kind != later.Kind:
		replaced := *later
		replaced.Cut = true
		return &replaced
	case later.Kind == Map:
		return mergeMaps(earlier, later)
	default:
		return mergeLists(earlier, later)
	}
}

func mergeMaps(earlier, later *Node) *Node {
	out := &Node{Kind: Map, Pos: later.Pos, Cut: earlier.Cut}
	out.Entries = append(out.Entries, earlier.Entries...)
	at := make(map[string]int, len(earlier.Entries))
	for i, e := range earlier.Entries {
		at[e.Key] = i
	}
	for _, e := range later.Entries {
		i, both := at[e.Key]
		if !both {
			out.Entries = append(out.Entries, e)
			continue
		}
		out.Entries[i] = Entry{Key: e.Key, At: e.At, Value: Merge(out.Entries[i].Value, e.Value)}
	}
	return out
}

func mergeLists(earlier, later *Node) *Node {
	out := &Node{Kind: List, Pos: later.Pos, Cut: earlier.Cut}
	out.Parts = append(out.Parts, earlier.Parts...)
	type key struct{ name, content string }
	at := make(map[key]int, len(earlier.Parts))
	for i, p := range earlier.Parts {
		at[key{p.Name, p.content}] = i
	}
	for _, p := range later.Parts {
		i, both := at[key{p.Name, p.content}]
		switch {
		case !both:
			out.Parts = append(out.Parts, p)
		case p.Name != "":
			out.Parts[i] = mergeParts(out.Parts[i], p)
		}
	}
	return out
}

// mergeParts merges two parts of one name. What is given again after it was removed is
// new: it has nothing of what it was before.
func mergeParts(earlier, later Part) Part {
	if later.Gone {
		return later
	}
	value := later.Values[0]
	if earlier.Gone {
		fresh := *value
		fresh.Cut = true
		value = &fresh
	} else {
		value = Merge(earlier.Values[0], value)
	}
	return Part{Name: later.Name, At: later.At, Values: []*Node{value}}
}

// Finish returns the tree without what is removed, and without the keys that are null:
// what is left out has its default.
func Finish(n *Node) *Node {
	out := *n
	out.Entries, out.Parts = nil, nil
	for _, e := range n.Entries {
		if e.Value.Kind != Null {
			out.Entries = append(out.Entries, Entry{Key: e.Key, At: e.At, Value: Finish(e.Value)})
		}
	}
	for _, p := range n.Parts {
		if p.Gone {
			continue
		}
		values := make([]*Node, len(p.Values))
		for i, v := range p.Values {
			values[i] = Finish(v)
		}
		p.Values = values
		out.Parts = append(out.Parts, p)
	}
	return &out
}
