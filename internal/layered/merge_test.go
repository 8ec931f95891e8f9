package layered

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var testRules = NewArranger(Rules{Names: map[string]string{"named": "name", "map.named": "id"}})

// arranged reads a file and arranges it.
func arranged(t require.TestingT, text string) *Node {
	n, problems := Parse("test.yaml", "/dir", []byte(text))
	require.Empty(t, problems, "%s", text)
	require.Empty(t, testRules.Arrange(n), "%s", text)
	return n
}

// trees draws files in which the same keys and names come again and again, with values of
// every kind.
func trees() *rapid.Generator[*Node] {
	return rapid.Custom(func(t *rapid.T) *Node {
		root := NewMap(Pos{})
		keys := []string{"named"}
		if rapid.Bool().Draw(t, "more keys") {
			keys = rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "list", "named", "map"}), rapid.ID).Draw(t, "keys")
		}
		for _, key := range keys {
			root.Set(key, Pos{}, drawValue(t, key, 0))
		}
		if problems := testRules.Arrange(root); len(problems) > 0 {
			t.Skip("not a valid file")
		}
		return root
	})
}

func drawValue(t *rapid.T, key string, depth int) *Node {
	kinds := []string{"text", "null", "list", "map", "named"}
	if depth > 2 {
		kinds = kinds[:2]
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	if key == "named" && kind != "null" {
		kind = "named"
	}
	var n *Node
	switch kind {
	case "null":
		return &Node{Kind: Null}
	case "text":
		return NewText(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "text"), Pos{})
	case "map":
		n = NewMap(Pos{})
		for _, k := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "named", "c"}), rapid.ID).Draw(t, "keys") {
			n.Set(k, Pos{}, drawValue(t, k, depth+1))
		}
	case "named":
		n = NewList(Pos{})
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			n.Append(drawItem(t, depth))
		}
	default:
		n = NewList(Pos{})
		for range rapid.IntRange(0, 2).Draw(t, "items") {
			n.Append(drawValue(t, "", depth+1))
		}
	}
	n.Cut = rapid.IntRange(0, 5).Draw(t, "replace") == 0
	return n
}

// drawItem draws an item of a list with names, which may have none.
func drawItem(t *rapid.T, depth int) *Node {
	item := NewMap(Pos{})
	if name := rapid.SampledFrom([]string{"", "p", "q"}).Draw(t, "name"); name != "" {
		item.Set("name", Pos{}, NewText(name, Pos{}))
		item.Set("id", Pos{}, NewText(name, Pos{}))
	}
	if rapid.IntRange(0, 3).Draw(t, "remove") == 0 && item.Get("name") != nil {
		item.Take("id")
		item.Set("remove", Pos{}, NewBool(true, Pos{}))
		return item
	}
	if rapid.Bool().Draw(t, "simple") {
		item.Set(rapid.SampledFrom([]string{"v", "w"}).Draw(t, "key"), Pos{}, NewText("x", Pos{}))
	} else {
		item.Set("v", Pos{}, drawValue(t, "v", depth+1))
	}
	return item
}

// TestMergeIsAssociative: it does not matter which of several files are merged first.
func TestMergeIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := trees().Draw(t, "a"), trees().Draw(t, "b"), trees().Draw(t, "c")
		require.Equal(t, Merge(Merge(a, b), c).String(), Merge(a, Merge(b, c)).String(), "a %s\nb %s\nc %s", a, b, c)
	})
}

// TestMergeIsIdempotent: a file, and files, merged again change nothing.
func TestMergeIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := trees().Draw(t, "a"), trees().Draw(t, "b")
		require.Equal(t, a.String(), Merge(a, a).String())
		ab := Merge(a, b)
		require.Equal(t, Finish(ab).String(), Finish(Merge(ab, b)).String(), "the last file again: a %s, b %s", a, b)
		require.Equal(t, ab.String(), Merge(ab, ab).String(), "all files again: a %s, b %s", a, b)
	})
}

// TestMergeLeavesItsParts: what is merged is not changed.
func TestMergeLeavesItsParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := trees().Draw(t, "a"), trees().Draw(t, "b")
		before := a.String() + b.String()
		Finish(Merge(Merge(a, b), a))
		require.Equal(t, before, a.String()+b.String())
	})
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ name, earlier, later, want string }{
		{"maps merge", "a: {x: 1, y: 2}", "a: {y: 3, z: 4}", "a: {x: 1, y: 3, z: 4}"},
		{"scalars replace", "a: 1", "a: two", "a: two"},
		{"null takes back", "a: 1\nb: {x: 1}", "a: ~\nb: {x: null, y: 2}", "b: {y: 2}"},
		{"kinds replace", "a: {x: 1}\nb: [1]", "a: [1]\nb: {x: 1}", "a: [1]\nb: {x: 1}"},
		{"lists add", "list: [1, 2]", "list: [2, 3]", "list: [1, 2, 2, 3]"},
		{"the same list once", "list: [1, 2, 1]", "list: [1, 2, 1]", "list: [1, 2, 1]"},
		{"a list replaces", "list: [1, 2]", "list: !replace [3]", "list: [3]"},
		{"a mapping replaces", "a: {x: 1}", "a: !replace {y: 2}", "a: {y: 2}"},
		{"items by name", "named: [{name: p, a: 1, b: 1}, {name: q, a: 1}]", "named: [{name: p, a: 2}, {name: r}]",
			"named: [{name: p, a: 2, b: 1}, {name: q, a: 1}, {name: r}]"},
		{"an item goes", "named: [{name: p}, {name: q}]", "named: [{name: p, remove: true}]", "named: [{name: q}]"},
		{"remove: false", "named: [{name: p}]", "named: [{name: p, remove: false, a: 1}]", "named: [{name: p, a: 1}]"},
		{"items without names", "named: [{a: 1}, {a: 1}]", "named: [{a: 1}, {a: 2}]", "named: [{a: 1}, {a: 1}, {a: 2}]"},
		{"a list by names replaces", "named: [{name: p}]", "named: !replace [{name: q}]", "named: [{name: q}]"},
		{"lists with names deeper", "map: {named: [{id: p, a: 1}]}", "map: {named: [{id: p, b: 1}]}", "map: {named: [{id: p, a: 1, b: 1}]}"},
		{"a name that looks like a number", "named: [{name: 1, a: 1}]", "named: [{name: 1, b: 1}]", "named: [{name: 1, a: 1, b: 1}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Finish(Merge(arranged(t, c.earlier), arranged(t, c.later)))
			require.Equal(t, flat(arranged(t, c.want)), flat(got))
		})
	}
}

// flat renders what a tree holds, however it was merged.
func flat(n *Node) string {
	switch n.Kind {
	case Map:
		s := "{"
		for _, e := range n.Entries {
			s += e.Key + ": " + flat(e.Value) + ", "
		}
		return s + "}"
	case List:
		s := "["
		for _, v := range n.Items() {
			s += flat(v) + ", "
		}
		return s + "]"
	}
	return n.Text
}

// TestRemovedAndGivenAgain: what comes back has nothing of what it was.
func TestRemovedAndGivenAgain(t *testing.T) {
	n := arranged(t, "named: [{name: p, a: 1}, {name: q}]")
	n = Merge(n, arranged(t, "named: [{name: p, remove: true}]"))
	n = Merge(n, arranged(t, "named: [{name: p, b: 1}]"))
	require.Equal(t, "{named: [{name: p, b: 1, }, {name: q, }, ], }", flat(Finish(n)))
}

// TestRemovals: removing what is not there is a problem, removing it again is not.
func TestRemovals(t *testing.T) {
	base := arranged(t, "named: [{name: data}, {name: root}]\nmap: {named: [{id: p}]}")
	gone := arranged(t, "named: [{name: root, remove: true}]\nmap: {named: [{id: p, remove: true}]}")
	require.Empty(t, Removals(base, gone))
	require.Empty(t, Removals(Merge(base, gone), gone), "again")
	for text, near := range map[string]string{
		"named: [{name: date, remove: true}]":             "data",
		"named: [{name: swap, remove: true}]":             "",
		"map: {named: [{id: q, remove: true}]}":           "p",
		"a: {b: 1}\nnamed: [{name: datas, remove: true}]": "data",
	} {
		problems := Removals(base, arranged(t, text))
		require.Len(t, problems, 1, "%s", text)
		require.Equal(t, near, problems[0].Nearest, "%v", problems)
		require.NotZero(t, problems[0].Line)
	}
	require.Len(t, Removals(NewMap(Pos{}), gone), 2)
}

func ExampleMerge() {
	read := func(text string) *Node {
		n, _ := Parse("example.yaml", "/", []byte(text))
		testRules.Arrange(n)
		return n
	}
	base := read("named: [{name: root, size: 1G}, {name: data, size: 1G}]")
	ci := read("named: [{name: root, size: 2G}, {name: data, remove: true}]")
	fmt.Println(flat(Finish(Merge(base, ci))))
	// Output: {named: [{name: root, size: 2G, }, ], }
}

// TestMergeOfEveryThree tries every three of some small files, in both orders of merging,
// and every two again.
func TestMergeOfEveryThree(t *testing.T) {
	var files []*Node
	for _, text := range []string{
		"", "a: 1", "a: {x: 1}", "a: {x: {y: 1}, z: 2}", "a: [1]", "a: [1, 2]", "a: ~", "a: {x: ~}", "a: !replace {y: 1}", "a: !replace [3]",
		"named: ~", "named: []", "named: [{name: p, v: 1}]", "named: [{name: p, w: {x: 1}}, {name: q}]", "named: [{name: q}, {name: p, w: {y: 1}}]",
		"named: [{name: p, remove: true}]", "named: [{v: 1}, {v: 1}]", "named: [{v: 1}, {name: p, w: ~}]", "named: !replace [{name: p, u: 1}]",
	} {
		files = append(files, arranged(t, text))
	}
	for _, a := range files {
		for _, b := range files {
			ab := Merge(a, b)
			require.Equal(t, ab.String(), Merge(ab, ab).String(), "a %s\nb %s", a, b)
			for _, c := range files {
				require.Equal(t, Merge(ab, c).String(), Merge(a, Merge(b, c)).String(), "a %s\nb %s\nc %s", a, b, c)
			}
		}
	}
}
