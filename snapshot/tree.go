package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// Node is a snapshot with those that were made when the disks stood on it.
type Node struct {
	Snapshot
	Children []Node
}

// Tree orders the snapshots of a VM by their parents, and leaves the order among siblings as it
// is. Those whose parent is not in list are roots, and so are those of a loop, which records
// never have.
func Tree(list []Snapshot) []Node {
	below := map[string][]Snapshot{}
	known := map[string]bool{}
	for _, s := range list {
		known[s.Name] = true
	}
	var roots []Snapshot
	for _, s := range list {
		if s.Parent == "" || !known[s.Parent] {
			roots = append(roots, s)
		} else {
			below[s.Parent] = append(below[s.Parent], s)
		}
	}
	done := map[string]bool{}
	nodes := grow(roots, below, done)
	for _, s := range list { // of a loop
		if !done[s.Name] {
			nodes = append(nodes, grow([]Snapshot{s}, below, done)...)
		}
	}
	return nodes
}

// grow makes nodes of snapshots. Of two with one name, of which one is foreign, the first gets
// the children.
func grow(list []Snapshot, below map[string][]Snapshot, done map[string]bool) (nodes []Node) {
	for _, s := range list {
		n := Node{Snapshot: s}
		if !done[s.Name] {
			done[s.Name] = true
			children := slices.DeleteFunc(slices.Clone(below[s.Name]), func(c Snapshot) bool { return done[c.Name] })
			n.Children = grow(children, below, done)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// FormatTree writes a line for each snapshot of a [Tree], below that of its parent. line says
// what is in it; nil: the name, the kind, the status unless it is [OK], and where the disks stand.
func FormatTree(nodes []Node, line func(Snapshot) string) string {
	var b strings.Builder
	if line == nil {
		line = Snapshot.String
	}
	write(&b, nodes, "", line)
	return b.String()
}

func write(b *strings.Builder, nodes []Node, indent string, line func(Snapshot) string) {
	for i, n := range nodes {
		branch, further := "├─ ", "│  "
		if i == len(nodes)-1 {
			branch, further = "└─ ", "   "
		}
		b.WriteString(indent + branch + line(n.Snapshot) + "\n")
		write(b, n.Children, indent+further, line)
	}
}

// String says in a few words what it is: `first (memory) *`.
func (s Snapshot) String() string {
	text := fmt.Sprintf("%s (%s)", s.Name, s.Kind)
	if s.Status != OK {
		text = fmt.Sprintf("%s (%s, %s)", s.Name, s.Kind, s.Status)
	}
	if s.Current {
		text += " *"
	}
	return text
}
