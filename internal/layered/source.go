package layered

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/maqet/maqet/errors"
)

// Source is a file that was read.
type Source struct {
	Name  string // as the user gave it, for messages
	Dir   string // absolute folder that relative paths are resolved against
	lines []string
}

// Pos is a place in a file. The zero Pos is nowhere.
type Pos struct {
	Source *Source
	Line   int // 1-based
	Column int // 1-based, in characters
}

// Problem returns a problem at p, with the line it is about.
func (p Pos) Problem(field, value, message, fix string) errors.Problem {
	problem := errors.Problem{Field: field, Value: value, Message: message, Fix: fix}
	p.Locate(&problem)
	return problem
}

// Locate says in problem that it is at p.
func (p Pos) Locate(problem *errors.Problem) {
	if p.Source == nil {
		return
	}
	problem.File, problem.Line, problem.Column = p.Source.Name, p.Line, p.Column
	problem.Snippet = p.snippet()
}

// String returns "file:line".
func (p Pos) String() string {
	if p.Source == nil {
		return "nowhere"
	}
	return fmt.Sprintf("%s:%d", p.Source.Name, p.Line)
}

// line returns the text of the line, without its end.
func (p Pos) line() string {
	if p.Source == nil || p.Line < 1 || p.Line > len(p.Source.lines) {
		return ""
	}
	return strings.TrimSuffix(p.Source.lines[p.Line-1], "\r")
}

// Of a long line, this many characters are shown, and so many of them before the place.
const (
	snippetWidth = 100
	snippetLead  = 60
)

// snippet shows the line, and a caret below the place.
func (p Pos) snippet() string {
	line := p.line()
	if strings.TrimSpace(line) == "" {
		return ""
	}
	text, at := []rune(line), min(max(p.Column-1, 0), len([]rune(line)))
	if at > snippetLead+10 {
		skip := at - snippetLead
		text, at = append([]rune("..."), text[skip:]...), at-skip+3
	}
	if len(text) > snippetWidth {
		text = append(text[:snippetWidth:snippetWidth], []rune("...")...)
	}
	for i, r := range text {
		if !unicode.IsPrint(r) { // a tab, for one, would move the caret away
			text[i] = ' '
		}
	}
	number := fmt.Sprintf("%4d", p.Line)
	return fmt.Sprintf("%s | %s\n%s | %s^", number, strings.TrimRight(string(text), " "), strings.Repeat(" ", len(number)), strings.Repeat(" ", at))
}
