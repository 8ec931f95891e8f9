package maqettest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/maqet/maqet/vm"
)

// budget is the memory that all guests of the process may use. Who needs more than is left
// waits, first come, first served. Nobody waits for ever, provided that a test that does not
// wait for a guest ends:
//
//   - A test that has a guest gets its next one at once, even beyond the budget. It is the
//     test at the top that counts: subtests can wait for each other.
//   - A template on which tests wait that have a guest gets it at once, too.
//   - When no test has a guest, and no template boots, the first in the queue gets what it needs,
//     however much that is.
//
// It is safe for concurrent use.
type budget struct {
	total vm.Size

	mu    sync.Mutex
	used  vm.Size
	tests map[string]int // guests that tests have
	boots int            // templates that boot
	queue []*share
}

// share is a part of the budget, or the wish for one.
type share struct {
	b        *budget
	size     vm.Size
	template bool
	tests    []string      // whose it is; of a template's who waits for it
	ready    chan struct{} // closed when it is granted

	granted, booted bool // under mu of b
}

// ask returns the wish for a share for a guest of a test.
func (b *budget) ask(test string, size vm.Size) *share {
	return b.enter(&share{size: size, tests: []string{test}})
}

// askTemplate returns the wish for a share for a template. Who waits for it joins.
func (b *budget) askTemplate(size vm.Size) *share {
	return b.enter(&share{size: size, template: true})
}

func (b *budget) enter(s *share) *share {
	s.b, s.ready = b, make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, s)
	b.grant()
	return s
}

// join says that a test waits for the template whose share it is.
func (s *share) join(test string) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.tests = append(s.tests, test)
	s.b.grant()
}

// settle says that the template has booted: its memory stays in use.
func (s *share) settle() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.granted && s.template && !s.booted {
		s.booted = true
		s.b.boots--
		s.b.grant()
	}
}

// release gives the share back, or the wish up. It is idempotent, and a nil share is none.
func (s *share) release() {
	if s == nil {
		return
	}
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.queue, s); i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
	}
	if s.granted {
		s.granted = false
		b.used -= s.size
		switch {
		case s.template && !s.booted:
			b.boots--
		case !s.template:
			b.count(s.tests[0], -1)
		}
	}
	b.grant()
}

// grant serves all that can be served.
func (b *budget) grant() {
	for {
		i := slices.IndexFunc(b.queue, b.urgent)
		if i < 0 && len(b.queue) > 0 && b.fits(b.queue[0]) {
			i = 0
		}
		if i < 0 {
			return
		}
		s := b.queue[i]
		b.queue = slices.Delete(b.queue, i, i+1)
		b.used += s.size
		if s.template {
			b.boots++
		} else {
			b.count(s.tests[0], 1)
		}
		s.granted = true
		close(s.ready)
	}
}

// urgent reports whether others may wait for those who wait for s.
func (b *budget) urgent(s *share) bool {
	return slices.ContainsFunc(s.tests, func(test string) bool { return b.tests[test] > 0 })
}

func (b *budget) fits(s *share) bool {
	return b.used+s.size <= b.total || len(b.tests) == 0 && b.boots == 0
}

func (b *budget) count(test string, change int) {
	if b.tests == nil {
		b.tests = map[string]int{}
	}
	if b.tests[test] += change; b.tests[test] == 0 {
		delete(b.tests, test)
	}
}

// wait returns when the share is granted. If it has to wait it says once why. When ctx ends
// first the wish is given up.
func (s *share) wait(ctx context.Context, logf func(format string, args ...any), what string) error {
	if why := s.held(what); why != "" {
		logf("maqettest: %s", why)
	}
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		s.release()
		return context.Cause(ctx)
	}
}

// held says why the share is not granted; empty: it is.
func (s *share) held(what string) string {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.granted {
		return ""
	}
	text := fmt.Sprintf("%s waits for %v of memory: of the %v that %s allows, %v are used", what, s.size, s.b.total, envMemory, s.b.used)
	if names := slices.Sorted(maps.Keys(s.b.tests)); len(names) > 0 {
		text += ", by guests of " + strings.Join(names, ", ")
	}
	return text
}

// topTest returns the name of the test at the top of which a test is a part.
func topTest(name string) string {
	top, _, _ := strings.Cut(name, "/")
	return top
}
