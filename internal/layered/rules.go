package layered

import (
	"fmt"
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

// Arrange prepares a tree that was read for [Merge]: items of lists with names become parts
// of their own, and paths become absolute. It changes the tree.
func (r Rules) Arrange(root *Node) []errors.Problem {
	a := &arranger{rules: r}
	a.walk(root, "", "")
	return a.problems
}

type arranger struct {
	rules    Rules
	problems []errors.Problem
}

// walk arranges n; place is where it is by Rules' names, field by that of messages.
func (a *arranger) walk(n *Node, place, field string) {
	switch n.Kind {
	case Scalar:
		if rule, ok := a.rules.Paths[place]; ok {
			a.path(n, rule, field)
		}
	case Map:
		for i := range n.Entries {
			e := &n.Entries[i]
			if _, isText := a.rules.Paths[place+"{}"]; isText {
				a.walk(e.Value, place+"{}", Keyed(field, e.Key))
				continue
			}
			a.walk(e.Value, Join(place, e.Key), Join(field, e.Key))
		}
	case List:
		for i, v := range n.Items() {
			a.walk(v, place+"[]", fmt.Sprintf("%s[%d]", field, i))
		}
		if key, ok := a.rules.Names[place]; ok {
			a.parts(n, key, field)
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

// Keyed returns the name of a value in a mapping whose keys are the user's.
func Keyed(field, key string) string { return field + "[" + key + "]" }

// parts makes a part of each item. Items without a name are parts of their own: one that is
// there twice is meant twice, so their content is told apart by how often it was there.
func (a *arranger) parts(n *Node, key, field string) {
	items := n.Items()
	n.Parts = make([]Part, 0, len(items))
	named, unnamed := map[string]Pos{}, map[string]int{}
	for i, item := range items {
		part := a.part(item, key, fmt.Sprintf("%s[%d]", field, i))
		if part.Name == "" {
			content := item.String()
			unnamed[content]++
			part.content = fmt.Sprint(unnamed[content], content)
		} else if first, twice := named[part.Name]; twice {
			a.problems = append(a.problems, part.At.Problem(fmt.Sprintf("%s[%d].%s", field, i, key), part.Name,
				fmt.Sprintf("is also the %s of the item in line %d", key, first.Line), "give each its own "+key))
			continue
		} else {
			named[part.Name] = part.At
		}
		n.Parts = append(n.Parts, part)
	}
}

func (a *arranger) part(item *Node, key, field string) Part {
	p := Part{At: item.Pos, Values: []*Node{item}}
	if name := item.Get(key); name != nil && name.Kind == Scalar {
		p.Name, p.At = name.Text, name.Pos
	}
	remove, ok := item.Take(removeKey)
	if !ok {
		return p
	}
	problem := func(message, fix string) {
		a.problems = append(a.problems, remove.At.Problem(field+"."+removeKey, "", message, fix))
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
func Removals(earlier, later *Node) []errors.Problem { return removals(earlier, later, "") }

func removals(earlier, later *Node, field string) []errors.Problem {
	var problems []errors.Problem
	for _, e := range later.Entries {
		problems = append(problems, removals(earlier.Get(e.Key), e.Value, Join(field, e.Key))...)
	}
	for i, p := range later.Parts {
		found, names := earlier.named(p.Name)
		if p.Gone && found == nil {
			fix := "remove these lines, or correct the name"
			near := Nearest(p.Name, names)
			switch {
			case near != "":
				fix = fmt.Sprintf("did you mean %q?", near)
			case len(names) > 0:
				fix = "there is " + strings.Join(names, ", ")
			}
			problem := p.At.Problem(fmt.Sprintf("%s[%d]", field, i), p.Name, "can't be removed: no earlier file has it by this name", fix)
			problem.Nearest = near
			problems = append(problems, problem)
		}
		if p.Name != "" && !p.Gone {
			var before *Node
			if found != nil && !found.Gone {
				before = found.Values[0]
			}
			problems = append(problems, removals(before, p.Values[0], fmt.Sprintf("%s[%d]", field, i))...)
		}
	}
	return problems
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
		if p.Name != "" && !p.Gone {
			names = append(names, p.Name)
		}
	}
	return found, names
}
