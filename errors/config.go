package errors

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Field   string // path of the field: "disks[0].path"
	Value   string // the value found, shortened; empty when it says nothing
	Message string // what is wrong
	Fix     string // what to write instead, or to do
	Err     error  // the cause, which Message tells of; may be nil
	File    string // the file it came from, if from a file
	Line    int    // 1-based; 0 when unknown
	Column  int    // 1-based, in characters; 0 when unknown
	// Nearest is the valid key or name that may have been meant; empty: none is near.
	Nearest string
	// Snippet is the line of the file with its number, and below it a caret at Column.
	Snippet string
}

// String returns "file:line:column: field: message (fix)", without the snippet.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	about := p.Field
	if p.Value != "" {
		about = strings.TrimPrefix(about+" "+quote(p.Value), " ")
	}
	if about != "" {
		b.WriteString(about + ": ")
	}
	b.WriteString(p.Message)
	if p.Fix != "" {
		b.WriteString(" (" + p.Fix + ")")
	}
	return b.String()
}

// ConfigError lists every problem of one configuration. Its kind is Kind,
// [ErrConfigValidation] when nil.
type ConfigError struct {
	Kind     *Kind
	VM       string
	Problems []Problem
}

// Error has one problem a line, and below it the line of the file that it is about, where
// that is known.
func (e *ConfigError) Error() string {
	head := sentence("configuration of VM", e.VM, "", nil, "")
	if e.VM == "" {
		head = "configuration"
	}
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString(head + ": ")
		e.Problems[0].write(&b, "  ")
		return b.String()
	}
	fmt.Fprintf(&b, "%s: %d problems", head, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		p.write(&b, "    ")
	}
	return b.String()
}

func (p Problem) write(b *strings.Builder, indent string) {
	b.WriteString(p.String())
	if p.Snippet != "" {
		b.WriteString("\n" + indent + strings.ReplaceAll(p.Snippet, "\n", "\n"+indent))
	}
}

// Unwrap returns the kind, and the causes of the problems.
func (e *ConfigError) Unwrap() []error {
	kind := e.Kind
	if kind == nil {
		kind = ErrConfigValidation
	}
	out := []error{kind}
	for _, p := range e.Problems {
		if p.Err != nil {
			out = append(out, p.Err)
		}
	}
	return out
}

// Has reports whether a problem of that field, or of a field below it, is listed.
func (e *ConfigError) Has(field string) bool {
	for _, p := range e.Problems {
		if p.Field == field || strings.HasPrefix(p.Field, field+".") || strings.HasPrefix(p.Field, field+"[") {
			return true
		}
	}
	return false
}
