package layered

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
)

// Rules say what of a configuration has a meaning of its own to its files. Keys are named by
// their place: "boot.kernel", "disks[].path" in each item of a list, "boot.files{}" for each
// value of a mapping.
type Rules struct {
	// Names maps a list whose items have names to the key that has the name.
	Names map[string]string
	// Paths has the texts that are paths of files.
	Paths map[string]PathRule
	// Vars are the variables that paths may use.
	Vars map[string]string
}

// removeKey, set to true in an item that has a name, removes the item of that name.
const removeKey = "remove"

// Arranger applies Rules to files.
type Arranger struct {
	root *rule
	vars map[string]string
}

// NewArranger returns an Arranger for any number of files.
func NewArranger(r Rules) *Arranger { return &Arranger{root: r.compile(), vars: r.Vars} }

// Arrange prepares a tree that was read for [Merge]: items of lists with names become parts
// of their own, and paths become absolute. It changes the tree.
func (a *Arranger) Arrange(root *Node) []errors.Problem {
	w := &arranging{vars: a.vars}
	w.walk(root, a.root)
	return w.problems
}

// rule is what Rules say of one place and of those below it.
type rule struct {
	name  string // key of the names of a list's items
	path  *PathRule
	below map[string]*rule // by key, "[]" for items, "{}" for values of the user's keys
}

func (r Rules) compile() *rule {
	root := &rule{}
	for place, name := range r.Names {
		root.at(place).name = name
	}
	for place, path := range r.Paths {
		root.at(place).path = &path
	}
	return root
}

// at returns the rule of a place, which it makes if there is none.
func (r *rule) at(place string) *rule {
	for key := range strings.SplitSeq(strings.NewReplacer("[]", ".[]", "{}", ".{}").Replace(place), ".") {
		if r.below == nil {
			r.below = map[string]*rule{}
		}
		if r.below[key] == nil {
			r.below[key] = &rule{}
		}
		r = r.below[key]
	}
	return r
}

func (r *rule) to(key string) *rule {
	if r == nil {
		return nil
	}
	return r.below[key]
}

type arranging struct {
	at       trail
	vars     map[string]string
	problems []errors.Problem
}

// walk arranges n, for which r holds if there is one.
func (a *arranging) walk(n *Node, r *rule) {
	switch n.Kind {
	case Scalar:
		if r != nil && r.path != nil {
			a.path(n, *r.path)
		}
	case Map:
		users := r.to("{}")
		for i := range n.Entries {
			e := &n.Entries[i]
			if users != nil {
				a.at.own(e.Key)
				a.walk(e.Value, users)
			} else {
				a.at.key(e.Key)
				a.walk(e.Value, r.to(e.Key))
			}
			a.at.back()
		}
	case List:
		for i, v := range n.Items() {
			a.at.item(i)
			a.walk(v, r.to("[]"))
			a.at.back()
		}
		if r != nil && r.name != "" {
			a.parts(n, r.name)
		}
		for i := range n.Parts {
			if p := &n.Parts[i]; p.Name == "" {
				var b strings.Builder
				p.render(&b)
				p.content = b.String()
			}
		}
	}
}

// Join returns the name of a key below a place.
func Join(place, key string) string {
	if place == "" {
		return key
	}
	return place + "." + key
}

// parts makes a part of each item. Items without a name are parts of their own: one that is
// there twice is meant twice, so their content is told apart by how often it was there.
func (a *arranging) parts(n *Node, key string) {
	items := n.Items()
	n.Parts = make([]Part, 0, len(items))
	named, unnamed := map[string]Pos{}, map[string]int{}
	for i, item := range items {
		part := a.part(item, key, i)
		if part.Name == "" {
			content := item.String()
			unnamed[content]++
			part.content = strconv.Itoa(unnamed[content]) + content
		} else if first, twice := named[part.Name]; twice {
			a.problems = append(a.problems, part.At.Problem(a.itemKey(i, key), part.Name,
				fmt.Sprintf("is also the %s of the item in line %d", key, first.Line), "give each its own "+key))
			continue
		} else {
			named[part.Name] = part.At
		}
		n.Parts = append(n.Parts, part)
	}
}

// itemKey is the field of a key in an item of the list that is looked at.
func (a *arranging) itemKey(index int, key string) string {
	return fmt.Sprintf("%s[%d].%s", a.at.field(), index, key)
}

func (a *arranging) part(item *Node, key string, index int) Part {
	p := Part{At: item.Pos, Values: []*Node{item}}
	if name := item.Get(key); name != nil && name.Kind == Scalar {
		p.Name, p.At = name.Text, name.Pos
	}
	remove, ok := item.Take(removeKey)
	if !ok {
		return p
	}
	problem := func(message, fix string) {
		a.problems = append(a.problems, remove.At.Problem(a.itemKey(index, removeKey), "", message, fix))
	}
	gone, isBool := remove.Value.Value.(bool)
	switch {
	case !isBool:
		problem("is "+describe(remove.Value)+", not true or false", "write remove: true, or leave it out")
	case !gone:
	case p.Name == "":
		problem("does not say what to remove", "give the "+key+" of what an earlier file has")
	case len(item.Entries) > 1:
		problem("stands beside other keys", "give only the "+key+" of what is to be removed, or leave remove out")
	default:
		p.Gone, p.Values = true, nil
	}
	return p
}

// Removals reports what later removes that is not in earlier, the result of all files
// before it; what was removed there already is no problem.
func Removals(earlier, later *Node) []errors.Problem {
	r := &remover{}
	r.walk(earlier, later)
	return r.problems
}

type remover struct {
	at       trail
	problems []errors.Problem
}

// walk compares later with what there is in its place, nil if there is nothing.
func (r *remover) walk(earlier, later *Node) {
	for _, e := range later.Entries {
		r.at.key(e.Key)
		r.walk(earlier.Get(e.Key), e.Value)
		r.at.back()
	}
	for i, p := range later.Parts {
		if p.Name == "" {
			continue
		}
		r.at.item(i)
		found, names := earlier.named(p.Name)
		switch {
		case p.Gone && found == nil:
			r.missing(p, names)
		case p.Gone:
		case found == nil || found.Gone:
			r.walk(nil, p.Values[0])
		default:
			r.walk(found.Values[0], p.Values[0])
		}
		r.at.back()
	}
}

func (r *remover) missing(p Part, names []string) {
	fix := "remove these lines, or correct the name"
	near := Nearest(p.Name, names)
	switch {
	case near != "":
		fix = fmt.Sprintf("did you mean %q?", near)
	case len(names) > 0:
		fix = "there is " + strings.Join(names, ", ")
	}
	problem := p.At.Problem(r.at.field(), p.Name, "can't be removed: no earlier file has it by this name", fix)
	problem.Nearest = near
	r.problems = append(r.problems, problem)
}

// named returns the part of a List by its name, and the names that there are.
func (n *Node) named(name string) (found *Part, names []string) {
	if n == nil {
		return nil, nil
	}
	for i := range n.Parts {
		p := &n.Parts[i]
		if p.Name == name && name != "" {
			found = p
		}
		if !p.Gone {
			names = append(names, p.Name)
		}
	}
	return found, names
}
