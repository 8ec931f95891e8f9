// Package memory keeps instances in memory: for tests, and for programs whose VMs
// need not be known to another process. It needs no cgo.
package memory

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/broadcast"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// Store is a vm.Store in memory. It is safe for concurrent use.
type Store struct {
	changes broadcast.Hub

	mu     sync.RWMutex
	closed bool
	byID   map[string]vm.Instance
	byName map[string]string            // name -> ID
	snaps  map[string]map[string][]byte // VM's ID -> name -> snapshot.Record in JSON
	files  storage.MemoryRegistry
}

var _ vm.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{byID: map[string]vm.Instance{}, byName: map[string]string{}, snaps: map[string]map[string][]byte{}}
}

// Create implements vm.Store.
func (s *Store) Create(ctx context.Context, inst vm.Instance) (vm.Instance, error) {
	const op = "add VM"
	return s.write(ctx, op, inst, func(inst vm.Instance) (vm.Instance, error) {
		if _, taken := s.byID[inst.ID]; taken {
			return inst, exists(op, inst.Name, "ID "+inst.ID+" is taken")
		}
		if s.taken(inst) {
			return inst, exists(op, inst.Name, "")
		}
		now := time.Now().UTC()
		if inst.Created.IsZero() {
			inst.Created = now
		}
		inst.Changed, inst.Version = now, 1
		return inst, nil
	})
}

// Update implements vm.Store.
func (s *Store) Update(ctx context.Context, next vm.Instance, state vm.State, version int64) (vm.Instance, error) {
	const op = "update VM"
	return s.write(ctx, op, next, func(next vm.Instance) (vm.Instance, error) {
		current, err := s.check(op, next.ID, state, version)
		if err != nil {
			return next, err
		}
		if s.taken(next) {
			return next, exists(op, current.Name, "name "+next.Name+" is taken")
		}
		delete(s.byName, current.Name)
		next.Changed, next.Version = time.Now().UTC(), version+1
		return next, nil
	})
}

// write records what decide makes of inst, under the lock.
func (s *Store) write(ctx context.Context, op string, inst vm.Instance,
	decide func(vm.Instance) (vm.Instance, error),
) (vm.Instance, error) {
	inst, err := normalize(inst)
	if err != nil {
		return vm.Instance{}, errors.Wrap(errors.ErrDatabase, op, inst.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, op, inst.Name); err != nil {
		return vm.Instance{}, err
	}
	inst, err = decide(inst)
	if err != nil {
		return vm.Instance{}, err
	}
	s.byID[inst.ID], s.byName[inst.Name] = inst, inst.ID
	s.changes.Notify()
	return inst.Clone(), nil
}

// Get implements vm.Store.
func (s *Store) Get(ctx context.Context, ref string) (vm.Instance, error) {
	const op = "get VM"
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, op, ref); err != nil {
		return vm.Instance{}, err
	}
	id := ref
	if named, ok := s.byName[ref]; ok {
		id = named
	}
	inst, ok := s.byID[id]
	if !ok {
		return vm.Instance{}, &errors.Error{Kind: errors.ErrVMNotFound, Op: op, VM: ref}
	}
	return inst.Clone(), nil
}

// List implements vm.Store.
func (s *Store) List(ctx context.Context, f vm.Filter) ([]vm.Instance, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "list VMs", ""); err != nil {
		return nil, err
	}
	var list []vm.Instance
	for _, inst := range s.byID {
		if f.Matches(inst) {
			list = append(list, inst.Clone())
		}
	}
	slices.SortFunc(list, func(a, b vm.Instance) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Delete implements vm.Store.
func (s *Store) Delete(ctx context.Context, id string, state vm.State, version int64) error {
	const op = "remove VM"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, op, id); err != nil {
		return err
	}
	current, err := s.check(op, id, state, version)
	if err != nil {
		return err
	}
	delete(s.byID, id)
	delete(s.byName, current.Name)
	delete(s.snaps, id)
	s.changes.Notify()
	return nil
}

// Changes implements vm.Store.
func (s *Store) Changes(ctx context.Context) (<-chan struct{}, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "watch VMs", ""); err != nil {
		return nil, err
	}
	return s.changes.Listen(ctx), nil
}

// Close forgets everything. It is idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.byID, s.byName, s.snaps = true, nil, nil, nil
	s.changes.Close()
	return nil
}

func (s *Store) usable(ctx context.Context, op, ref string) error {
	if s.closed {
		return &errors.Error{Kind: errors.ErrDatabase, Op: op, VM: ref, Msg: "the store is closed"}
	}
	return errors.Wrap(errors.ErrDatabase, op, ref, ctx.Err())
}

// taken reports whether another instance has inst's name.
func (s *Store) taken(inst vm.Instance) bool {
	id, ok := s.byName[inst.Name]
	return ok && id != inst.ID
}

// check returns the record of id if it has the given state and version.
func (s *Store) check(op, id string, state vm.State, version int64) (vm.Instance, error) {
	current, ok := s.byID[id]
	switch {
	case !ok:
		return current, &errors.Error{Kind: errors.ErrVMNotFound, Op: op, VM: id}
	case current.State != state || current.Version != version:
		return current, &vm.ConflictError{Current: current.Clone()}
	}
	return current, nil
}

func exists(op, name, msg string) error {
	return &errors.Error{Kind: errors.ErrVMAlreadyExists, Op: op, VM: name, Msg: msg}
}

// normalize returns inst as it comes back from its JSON form, which is what stores
// with a file keep: a copy, times in UTC without a monotonic part.
func normalize(inst vm.Instance) (out vm.Instance, err error) {
	data, err := json.Marshal(inst)
	if err != nil {
		return inst, err
	}
	return out, json.Unmarshal(data, &out)
}
