package maqettest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// Template is a guest that boots once, and of which tests get copies by [Template.Fork]. It is
// meant to be a variable of the package; making one starts nothing. It is safe for concurrent
// use.
type Template struct {
	opts   options
	parent *Template // nil: it boots

	mu     sync.Mutex
	making *making // nil: nobody has asked for it
}

// NewTemplate returns a template that boots at its first Fork. Then it becomes ready as
// the options say, runs its Setup, and is captured, with memory, disks and all. Its name, and the
// beginning of those of its forks, is Config.Name; default: "base".
//
//	var database = maqettest.NewTemplate(maqettest.Memory(512*vm.MiB), maqettest.Setup(install))
func NewTemplate(opts ...Option) *Template { return &Template{opts: newOptions(opts)} }

// With returns a template that is a fork of t in which setup has run: a suite can share
// one with a database, and some of its tests one with fixtures besides. It is made at its first
// Fork, which makes t first, if need be. What holds for [Setup] holds for setup.
func (t *Template) With(setup ...SetupFunc) *Template {
	return &Template{opts: options{setup: slices.Clone(setup)}, parent: t}
}

// ready returns the template once it is made, which the first one who asks begins. It is made
// for all: the end of a test does not stop it.
func (t *Template) ready(tb testing.TB) *making {
	tb.Helper()
	var from *making
	if t.parent != nil {
		from = t.parent.ready(tb)
	}
	m, first, err := t.begin(from)
	if err != nil {
		tb.Fatalf("maqettest: template: %v", err)
	}
	m.share.join(topTest(tb.Name()))
	if why := m.share.held("template " + m.name); why != "" {
		tb.Logf("maqettest: %s", why)
	}
	select {
	case <-m.done:
	case <-tb.Context().Done():
		tb.Fatalf("maqettest: the test has ended before template %s was ready: %v", m.name, context.Cause(tb.Context()))
	}
	switch {
	case m.err != nil:
		if m.failure != nil {
			m.failure.show(tb)
		}
		giveUp(tb, m.err)
	case first:
		tb.Logf("maqettest: template %s is ready after %v", m.name, m.took.Round(time.Millisecond))
	}
	return m
}

// begin returns what makes the template, and whether this call has begun it.
func (t *Template) begin(from *making) (m *making, first bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.making != nil {
		return t.making, false, nil
	}
	budget, err := program.memory()
	if err != nil {
		return nil, false, err
	}
	t.making = newMaking(t.opts, from, budget)
	program.add(t)
	return t.making, true, nil
}

// stop ends the making, if it goes on, and returns it; nil: there is none. The next Fork makes
// the template anew.
func (t *Template) stop() *making {
	t.mu.Lock()
	m := t.making
	t.making = nil
	t.mu.Unlock()
	if m != nil {
		m.cancel()
		<-m.done
		m.share.release()
	}
	return m
}
