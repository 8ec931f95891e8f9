package qmp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/maqet/maqet/errors"
)

// Layout says by which keys a guest with a certain keyboard layout gets each character.
// It is data: fill one, read it with [ParseLayout], or change a copy of a built-in one.
// It must not be changed while it is in use.
type Layout struct {
	// Name is for messages.
	Name string `json:"name"`
	// Base names the built-in layout, "us", "gb" or "de", that has what Keys has not.
	// Empty: there is nothing else.
	Base string `json:"base,omitempty"`
	// Keys has for each character the chords that type it, as for [Manager.SendKeys] and
	// with spaces between them: "A": "shift-a", "@": "alt_r-q", and for a character that is
	// made with a dead key "ê": "grave_accent e". Keys are named by where they are on a
	// US keyboard. An empty string takes away what Base has.
	Keys map[string]string `json:"keys"`
}

// ParseLayout reads a layout from its JSON form and checks it:
//
//	{"name": "mine", "base": "us", "keys": {"ä": "alt_r-q", "â": "shift-6 a"}}
//
// Everything that is wrong in it is listed in an *errors.ConfigError.
func ParseLayout(data []byte) (Layout, error) {
	var l Layout
	if err := json.Unmarshal(data, &l); err != nil {
		return Layout{}, errors.Wrap(errors.ErrConfigValidation, "read keyboard layout", "", err)
	}
	return l, l.Validate()
}

// Validate checks that all characters are single ones and all keys are known. What is
// not is listed in an *errors.ConfigError.
func (l Layout) Validate() error {
	var problems []errors.Problem
	l.table(&problems)
	if len(problems) > 0 {
		return &errors.ConfigError{Problems: problems}
	}
	return nil
}

// Characters returns what the layout can type, sorted.
func (l Layout) Characters() []rune {
	var problems []errors.Problem
	return slices.Sorted(maps.Keys(l.table(&problems)))
}

// table returns the chords of each character.
func (l Layout) table(problems *[]errors.Problem) map[rune][]chord {
	table := map[rune][]chord{}
	if l.Base != "" {
		base, ok := builtinLayout(l.Base)
		if !ok {
			*problems = append(*problems, errors.Problem{
				Field: "base", Value: l.Base, Message: "no such layout is built in", Fix: "use us, gb or de",
			})
		}
		table = base.table(problems)
	}
	for _, text := range slices.Sorted(maps.Keys(l.Keys)) {
		field := fmt.Sprintf("keys[%q]", text)
		char, size := utf8.DecodeRuneInString(text)
		if size != len(text) || size == 0 || char == utf8.RuneError {
			*problems = append(*problems, errors.Problem{Field: field, Message: "is not one character", Fix: "give each character on its own"})
			continue
		}
		delete(table, char)
		for part := range strings.FieldsSeq(l.Keys[text]) {
			table[char] = append(table[char], parseChord(field, part, problems))
		}
	}
	return table
}

// chords returns what types text. Characters that the layout lacks are all in the error.
func (l Layout) chords(ref, text string) ([]chord, error) {
	var problems []errors.Problem
	table := l.table(&problems)
	out := make([]chord, 0, len(text))
	position, line := 0, 1
	for i, char := range text {
		keys, ok := table[char]
		if !ok {
			_, size := utf8.DecodeRuneInString(text[i:])
			shown := text[i : i+size]
			if size == 1 && char == utf8.RuneError {
				shown = fmt.Sprintf("%q", shown) // a byte that is no UTF-8
			}
			problems = append(problems, errors.Problem{
				Field: fmt.Sprintf("text[%d]", position), Value: shown,
				Message: fmt.Sprintf("can't be typed with the keyboard layout %q", l.Name),
				Fix:     fmt.Sprintf("it is in line %d; use the guest's layout, KeyboardOptions.Layout, or leave it out", line),
			})
		}
		out = append(out, keys...)
		position++
		if char == '\n' {
			line++
		}
	}
	if len(problems) > 0 {
		return nil, &errors.ConfigError{VM: ref, Problems: problems}
	}
	return out, nil
}
