package snapshot_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
)

func ExampleTree() {
	list := []snapshot.Snapshot{ // as Coordinator.List returns it
		{Name: "installed", Kind: snapshot.Internal, Status: snapshot.OK},
		{Name: "configured", Parent: "installed", Kind: snapshot.Memory, Status: snapshot.OK},
		{Name: "broken", Parent: "configured", Kind: snapshot.External, Status: snapshot.Partial},
		{Name: "updated", Parent: "installed", Kind: snapshot.Memory, Status: snapshot.OK, Current: true},
		{Name: "by hand", Kind: snapshot.Internal, Status: snapshot.Foreign},
	}
	fmt.Print(snapshot.FormatTree(snapshot.Tree(list), nil))
	// Output:
	// ├─ installed (internal)
	// │  ├─ configured (memory)
	// │  │  └─ broken (external, partial)
	// │  └─ updated (memory) *
	// └─ by hand (internal, foreign)
}

func TestTree(t *testing.T) {
	named := func(name, parent string) snapshot.Snapshot { return snapshot.Snapshot{Name: name, Parent: parent} }
	name := func(s snapshot.Snapshot) string { return s.Name }
	for _, c := range []struct {
		list []snapshot.Snapshot
		want string
	}{
		{nil, ""},
		{[]snapshot.Snapshot{named("a", "gone")}, "└─ a\n"},
		{[]snapshot.Snapshot{named("b", "a"), named("a", "")}, "└─ a\n   └─ b\n"},
		{[]snapshot.Snapshot{named("a", "a"), named("b", "a")}, "└─ a\n   └─ b\n"},
		{[]snapshot.Snapshot{named("a", "b"), named("b", "a"), named("c", "")}, "├─ c\n└─ a\n   └─ b\n"},
		{[]snapshot.Snapshot{named("a", ""), named("a", ""), named("b", "a")}, "├─ a\n│  └─ b\n└─ a\n"},
		{[]snapshot.Snapshot{named("a", ""), named("b", "a"), named("b", "a")}, "└─ a\n   ├─ b\n   └─ b\n"},
	} {
		require.Equal(t, c.want, snapshot.FormatTree(snapshot.Tree(c.list), name), "%v", c.list)
	}
}
