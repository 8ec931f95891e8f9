package snapshots_test

import (
	"context"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// subject is the name of the snapshot that an operation makes.
const subject = "subject"

// state is what there is: the generation on the disks, and of each snapshot.
type state struct {
	present   int
	snapshots map[string]int
}

// operation is one that is interrupted. It begins with base, of generation 1, and disks of
// generation 2.
type operation struct {
	from  string // template
	live  bool   // the VM is live, but its CPUs are halted
	do    func(ctx context.Context, r *rig, opts ...snapshot.Option) error
	about string // the snapshot that it is about
	after state
	kind  string // of its errors
}

// others are operations that only get in the way of those.
var others = map[string]operation{
	"create another internal": {do: createNamed("another")},
	"create another memory":   {live: true, do: createNamed("another")},
	"create another external": {live: true, do: createNamed("another", snapshot.DiskOnly())},
	"start": {do: func(ctx context.Context, r *rig, _ ...snapshot.Option) error {
		_, err := r.vms.Start(ctx, victim, vm.StartPaused())
		return err
	}},
	"stop": {live: true, do: func(ctx context.Context, r *rig, _ ...snapshot.Option) error {
		_, err := r.vms.Stop(ctx, victim, vm.Force())
		return err
	}},
	"remove": {do: func(ctx context.Context, r *rig, _ ...snapshot.Option) error {
		return r.vms.Remove(ctx, victim, vm.ForceRemove(), vm.DeleteImages())
	}},
}

// operationOf finds an operation by its name.
func operationOf(name string) operation {
	if op, ok := operations[name]; ok {
		return op
	}
	return others[name]
}

// before is what there is before each operation.
var before = state{2, map[string]int{base: 1}}

// outcomes of operations.
var (
	created = state{2, map[string]int{base: 1, subject: 2}}
	loaded  = state{1, map[string]int{base: 1}}
	deleted = state{2, map[string]int{}}
	dropped = state{1, map[string]int{}}
)

// operations are all that there are.
var operations = map[string]operation{
	"create internal":          {from: withInternal, do: create(), about: subject, after: created, kind: "creation"},
	"load internal":            {from: withInternal, do: load(), about: base, after: loaded, kind: "snapshot"},
	"delete internal":          {from: withInternal, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"load internal, live":      {from: withInternal, live: true, do: load(), about: base, after: loaded, kind: "snapshot"},
	"delete internal, live":    {from: withInternal, live: true, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"create memory":            {from: withInternal, live: true, do: create(), about: subject, after: created, kind: "creation"},
	"load memory":              {from: withMemory, live: true, do: load(), about: base, after: loaded, kind: "snapshot"},
	"delete memory":            {from: withMemory, live: true, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"load memory, offline":     {from: withMemory, do: load(), about: base, after: loaded, kind: "snapshot"},
	"delete memory, offline":   {from: withMemory, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"create external":          {from: withInternal, live: true, do: create(snapshot.DiskOnly()), about: subject, after: created, kind: "creation"},
	"load external":            {from: withExternal, live: true, do: load(), about: base, after: loaded, kind: "snapshot"},
	"commit external":          {from: withExternal, live: true, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"load external, offline":   {from: withExternal, do: load(), about: base, after: loaded, kind: "snapshot"},
	"commit external, offline": {from: withExternal, do: remove(), about: base, after: deleted, kind: "snapshot"},
	"drop external":            {from: withExternal, live: true, do: drop, about: base, after: dropped, kind: "snapshot"},
	"drop external, offline":   {from: withExternal, do: drop, about: base, after: dropped, kind: "snapshot"},
	"stream external":          {from: withExternal, live: true, do: stream, about: base, after: deleted, kind: "snapshot"},
}

func create(more ...snapshot.Option) func(context.Context, *rig, ...snapshot.Option) error {
	return createNamed(subject, more...)
}

func createNamed(name string, more ...snapshot.Option) func(context.Context, *rig, ...snapshot.Option) error {
	return func(ctx context.Context, r *rig, opts ...snapshot.Option) error {
		_, err := r.snaps.Create(ctx, victim, name, append(more, opts...)...)
		return err
	}
}

func load(more ...snapshot.Option) func(context.Context, *rig, ...snapshot.Option) error {
	return func(ctx context.Context, r *rig, opts ...snapshot.Option) error {
		return r.snaps.Load(ctx, victim, base, append(more, opts...)...)
	}
}

func remove() func(context.Context, *rig, ...snapshot.Option) error {
	return func(ctx context.Context, r *rig, opts ...snapshot.Option) error {
		return r.snaps.Delete(ctx, victim, base, opts...)
	}
}

func drop(ctx context.Context, r *rig, opts ...snapshot.Option) error {
	return r.snaps.Drop(ctx, victim, base, opts...)
}

func stream(ctx context.Context, r *rig, opts ...snapshot.Option) error {
	return r.snaps.Stream(ctx, victim, base, opts...)
}
