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
	Column  int    // 1-based; 0 when unknown
}

// String returns "file:line:column: field: message (fix)".
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Field)
	if p.Value != "" {
		b.WriteString(" " + quote(p.Value))
	}
	b.WriteString(": " + p.Message)
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

// Error has one problem a line.
func (e *ConfigError) Error() string {
	head := sentence("configuration of VM", e.VM, "", nil, "")
	if e.VM == "" {
		head = "configuration"
	}
	if len(e.Problems) == 1 {
		return head + ": " + e.Problems[0].String()
	}
	lines := make([]string, 0, len(e.Problems)+1)
	lines = append(lines, fmt.Sprintf("%s: %d problems", head, len(e.Problems)))
	for _, p := range e.Problems {
		lines = append(lines, "  "+p.String())
	}
	return strings.Join(lines, "\n")
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
