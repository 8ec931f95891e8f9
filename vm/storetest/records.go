package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testCreateAndGet(t *testing.T, s vm.Store) {
	before := time.Now().Add(-time.Millisecond)
	inst := create(t, s, instance(1))
	require.EqualValues(t, 1, inst.Version)
	require.WithinRange(t, inst.Created, before, time.Now())
	require.WithinRange(t, inst.Changed, before, time.Now())

	for _, ref := range []string{inst.ID, inst.Name} {
		got, err := s.Get(t.Context(), ref)
		require.NoError(t, err)
		require.Equal(t, inst, got)
	}
}

func testWholeRecord(t *testing.T, s vm.Store) {
	want := Whole(1)
	want.Version = 99 // not the caller's to choose
	got := create(t, s, want)
	want.Version, want.Changed = 1, got.Changed
	require.Equal(t, want, got)
	requireSame(t, s, want)
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{want}, list)
}

func testCreateTaken(t *testing.T, s vm.Store) {
	first := create(t, s, instance(1))

	sameID := instance(2)
	sameID.ID = first.ID
	sameName := instance(3)
	sameName.Name = first.Name
	for _, inst := range []vm.Instance{first, sameID, sameName} {
		_, err := s.Create(t.Context(), inst)
		require.ErrorIs(t, err, errors.ErrVMAlreadyExists)
	}

	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, []vm.Instance{first}, list)
}

func testNotFound(t *testing.T, s vm.Store) {
	create(t, s, instance(1))
	for _, ref := range []string{"", "nobody", "VM0001", "vm0001 ", "vm000_", "%", ID(2)} {
		_, err := s.Get(t.Context(), ref)
		require.ErrorIs(t, err, errors.ErrVMNotFound, "ref %q", ref)
	}
	_, err := s.Update(t.Context(), instance(2), vm.Created, 1)
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	require.ErrorIs(t, s.Delete(t.Context(), ID(2), vm.Created, 1), errors.ErrVMNotFound)
	require.ErrorIs(t, s.Delete(t.Context(), "vm0001", vm.Created, 1), errors.ErrVMNotFound, "Delete takes IDs only")
}

func testList(t *testing.T, s vm.Store) {
	empty, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Empty(t, empty)

	add := func(n int, name string, state vm.State, lifetime vm.Lifetime, labels map[string]string) {
		inst := instance(n)
		inst.Name, inst.State, inst.Config.Lifetime, inst.Config.Labels = name, state, lifetime, labels
		create(t, s, inst)
	}
	add(1, "delta", vm.Running, vm.Persistent, map[string]string{"team": "a", "tier": "1"})
	add(2, "alpha", vm.Created, "", map[string]string{"team": "b"})
	add(3, "charlie", vm.Failed, vm.Ephemeral, nil)
	add(4, "Bravo", vm.Running, vm.Ephemeral, map[string]string{"team": ""})

	for _, c := range []struct {
		filter vm.Filter
		want   []string
	}{
		{vm.Filter{}, []string{"Bravo", "alpha", "charlie", "delta"}},
		{vm.Filter{States: []vm.State{vm.Running}}, []string{"Bravo", "delta"}},
		{vm.Filter{States: []vm.State{vm.Failed, vm.Created}}, []string{"alpha", "charlie"}},
		{vm.Filter{States: []vm.State{"' OR 1=1 --"}}, nil},
		{vm.Filter{Names: []string{"alpha", ID(3), "nobody"}}, []string{"alpha", "charlie"}},
		{vm.Filter{Names: []string{"ALPHA"}}, nil},
		{vm.Filter{Lifetime: vm.Persistent}, []string{"delta"}},
		{vm.Filter{Lifetime: vm.Ephemeral}, []string{"Bravo", "alpha", "charlie"}},
		{vm.Filter{Labels: map[string]string{"team": "a"}}, []string{"delta"}},
		{vm.Filter{Labels: map[string]string{"team": ""}}, []string{"Bravo", "alpha", "delta"}},
		{vm.Filter{Labels: map[string]string{"team": "a", "tier": "2"}}, nil},
		{vm.Filter{States: []vm.State{vm.Running}, Lifetime: vm.Ephemeral}, []string{"Bravo"}},
		{vm.Filter{States: []vm.State{vm.Running}, Names: []string{"alpha"}}, nil},
	} {
		list, err := s.List(t.Context(), c.filter)
		require.NoError(t, err)
		require.Equal(t, append([]string{}, c.want...), names(list), "%+v", c.filter)
	}
}

// Names are validated above the store, which must be safe with any all the same.
func testOddNames(t *testing.T, s vm.Store) {
	odd := []string{
		"'; DROP TABLE instances; --", `"`, "`", "%", "_", "?", "?1", ":name", "$name", "\\", "a\nb", "a\x00b", "a",
		"Name", "name", "näme", "na\u0308me", "名前", "🐧", " ", strings.Repeat("x", 10_000), "<&>\u2028", "null", "1", "1.0",
	}
	for i, name := range odd {
		inst := instance(i)
		inst.Name = name
		create(t, s, inst)
	}
	for i, name := range odd {
		got, err := s.Get(t.Context(), name)
		require.NoError(t, err, "%q", name)
		require.Equal(t, ID(i), got.ID, "%q", name)
		require.Equal(t, name, got.Name)
		list, err := s.List(t.Context(), vm.Filter{Names: []string{name}})
		require.NoError(t, err)
		require.Equal(t, []string{name}, names(list))
	}
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	slices.Sort(odd)
	require.Equal(t, odd, names(list), "ordered by the bytes of the name")
}

func testCopies(t *testing.T, s vm.Store) {
	given := Whole(1)
	created := create(t, s, given)
	want := created.Clone()

	scribble(given)
	requireSame(t, s, want)
	scribble(created)
	requireSame(t, s, want)

	got, err := s.Get(t.Context(), want.ID)
	require.NoError(t, err)
	scribble(got)
	requireSame(t, s, want)

	for range 2 {
		list, err := s.List(t.Context(), vm.Filter{})
		require.NoError(t, err)
		require.Equal(t, []vm.Instance{want}, list)
		scribble(list[0])
	}
	requireSame(t, s, want)

	_, err = s.Update(t.Context(), want, vm.Running, 1)
	var conflict *vm.ConflictError
	require.ErrorAs(t, err, &conflict)
	scribble(conflict.Current)
	requireSame(t, s, want)

	next := want.Clone()
	updated, err := s.Update(t.Context(), next, want.State, 1)
	require.NoError(t, err)
	want = updated.Clone()
	scribble(next)
	scribble(updated)
	requireSame(t, s, want)
}

// scribble changes everything that inst points to.
func scribble(inst vm.Instance) {
	inst.Config.Labels["team"] = "changed"
	inst.Config.Boot.Files["new"] = "entry"
	inst.Config.Args[0] = "changed"
	inst.Config.Disks[0].Name = "changed"
	*inst.Config.Disks[0].Keep = false
	inst.Config.Networks[0].Forwards[0].Port = 1
	inst.Config.Devices[0].Props["list"].([]any)[0] = "changed"
	inst.Config.Devices[0].Props["new"] = 1
	inst.Steps[0].Name = "changed"
	inst.Runtime.Args[0] = "changed"
	inst.Runtime.Sockets["agent"] = "changed"
	inst.Runtime.Disks[0].Path = "changed"
	inst.Runtime.Exit.Code = 7
}

func testThousand(t *testing.T, s vm.Store) {
	want := make([]vm.Instance, 1000)
	for i := range want {
		want[i] = create(t, s, Whole(i))
	}
	list, err := s.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Equal(t, want, list)

	for _, i := range []int{0, 500, 999} {
		next := want[i].Clone()
		next.Reason = "changed"
		want[i], err = s.Update(t.Context(), next, next.State, next.Version)
		require.NoError(t, err)
	}
	require.NoError(t, s.Delete(t.Context(), want[10].ID, want[10].State, 1))
	want = slices.Delete(want, 10, 11)
	for range 2 {
		list, err = s.List(t.Context(), vm.Filter{})
		require.NoError(t, err)
		require.Equal(t, want, list)
	}

	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("vm%04d", i)
	}
	list, err = s.List(t.Context(), vm.Filter{Names: many})
	require.NoError(t, err)
	require.Len(t, list, 999)
}
