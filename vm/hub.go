package vm

import (
	"context"
	"sync"
	"time"

	"github.com/maqet/maqet/errors"
)

// watchQueue is how many events a watcher may be behind.
const watchQueue = 256

// hub tells watchers about changes: those of this process at once and each, those of
// other processes by comparing the store with what was seen.
type hub struct {
	store Store
	wg    sync.WaitGroup

	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

func newHub(store Store) *hub {
	return &hub{store: store, watchers: map[*watcher]struct{}{}}
}

// seen is what a watcher knows of a VM.
type seen struct {
	version int64
	name    string
	state   State
	reason  string
}

type watcher struct {
	out chan Event

	mu      sync.Mutex
	known   map[string]seen
	buried  map[string]bool // removed since the last comparison began: lists may still have them
	queue   []Event
	dropped int
	wake    chan struct{} // capacity 1
}

func (h *hub) watch(ctx context.Context, done func()) (<-chan Event, error) {
	changes, err := h.store.Changes(ctx)
	if err != nil {
		done()
		return nil, err
	}
	w := &watcher{out: make(chan Event), known: map[string]seen{}, buried: map[string]bool{}, wake: make(chan struct{}, 1)}
	w.mu.Lock()
	h.mu.Lock()
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	list, err := h.store.List(ctx, Filter{})
	for _, inst := range list {
		w.known[inst.ID] = seen{inst.Version, inst.Name, inst.State, inst.Reason}
	}
	w.mu.Unlock()
	if err != nil {
		h.forget(w)
		done()
		return nil, err
	}
	h.wg.Go(func() {
		defer done()
		defer close(w.out)
		defer h.forget(w)
		w.run(ctx, h.store, changes)
	})
	return w.out, nil
}

func (h *hub) forget(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

func (h *hub) each(fn func(*watcher)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		fn(w)
	}
}

func (h *hub) changed(inst Instance) { h.each(func(w *watcher) { w.note(inst) }) }
func (h *hub) removed(inst Instance) { h.each(func(w *watcher) { w.gone(inst.ID) }) }

func (w *watcher) run(ctx context.Context, store Store, changes <-chan struct{}) {
	var ev Event
	var out chan Event // nil while ev is empty
	for {
		if out == nil {
			ev, out = w.next()
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
			w.compare(ctx, store)
		case <-w.wake:
		case out <- ev:
			out = nil
		}
	}
}

// next takes the oldest event, with the channel to send it on; nil when there is none.
func (w *watcher) next() (Event, chan Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return Event{}, nil
	}
	ev := w.queue[0]
	ev.Dropped = w.dropped
	w.queue, w.dropped = w.queue[1:], 0
	return ev, w.out
}

// note queues the change that inst shows, if it was not seen yet.
func (w *watcher) note(inst Instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, ok := w.known[inst.ID]
	if w.buried[inst.ID] || ok && was.version >= inst.Version {
		return
	}
	w.known[inst.ID] = seen{inst.Version, inst.Name, inst.State, inst.Reason}
	if ok && was.state == inst.State && was.reason == inst.Reason {
		return
	}
	w.push(Event{Time: inst.Changed, ID: inst.ID, Name: inst.Name, From: was.state, To: inst.State, Reason: inst.Reason})
}

func (w *watcher) gone(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buried[id] = true
	was, ok := w.known[id]
	if !ok {
		return
	}
	delete(w.known, id)
	w.push(Event{Time: time.Now(), ID: id, Name: was.name, From: was.state, Reason: "removed"})
}

func (w *watcher) push(ev Event) {
	if len(w.queue) == watchQueue {
		w.queue = w.queue[1:]
		w.dropped++
	}
	w.queue = append(w.queue, ev)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// compare finds what other processes changed.
func (w *watcher) compare(ctx context.Context, store Store) {
	w.mu.Lock()
	clear(w.buried)
	w.mu.Unlock()
	list, err := store.List(ctx, Filter{})
	if err != nil {
		return // the store tells again at its next change
	}
	listed := make(map[string]bool, len(list))
	for _, inst := range list {
		listed[inst.ID] = true
		w.note(inst)
	}
	for _, id := range w.missing(listed) {
		// One that was added after the list was read is missing there, but not gone.
		if _, err := store.Get(ctx, id); errors.Is(err, errors.ErrVMNotFound) {
			w.gone(id)
		}
	}
}

func (w *watcher) missing(listed map[string]bool) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id := range w.known {
		if !listed[id] {
			ids = append(ids, id)
		}
	}
	return ids
}
