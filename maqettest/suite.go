package maqettest

import (
	"sync"
	"testing"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// suite is what all tests of a program share.
type suite struct {
	mu        sync.Mutex
	budget    *budget // nil before the first guest
	templates []*Template
}

// program is this program's suite. It is a variable of the package because tests know nothing
// of each other: what they share can only be found by name.
var program = &suite{}

// memory returns the budget; the first call decides how much there is.
func (s *suite) memory() (*budget, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget == nil {
		total, err := memoryBudget("/")
		if err != nil {
			return nil, err
		}
		s.budget = &budget{total: total}
	}
	return s.budget, nil
}

// admit waits until there is memory for a test's guest. The share has to be released.
func (s *suite) admit(tb testing.TB, what string, size vm.Size) (*share, error) {
	tb.Helper()
	b, err := s.memory()
	if err != nil {
		return nil, err
	}
	wish := b.ask(topTest(tb.Name()), size)
	return wish, wish.wait(tb.Context(), tb.Logf, what)
}

// add has Close end the template.
func (s *suite) add(t *Template) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.templates = append(s.templates, t)
}

// close ends all templates.
func (s *suite) close() error {
	s.mu.Lock()
	templates := s.templates
	s.templates = nil
	s.mu.Unlock()
	var homes []*home
	for _, t := range templates {
		if m := t.stop(); m != nil && m.from == nil && m.err == nil {
			homes = append(homes, m.home)
		}
	}
	var errs []error
	for _, h := range homes { // now that nobody makes anything in them
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}
