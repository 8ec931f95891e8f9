package errors

import (
	"strings"
)

// Error is the general typed error: what was attempted, on which VM, what went
// wrong and what to do next. Its Kind and its cause are both found by Is and As.
type Error struct {
	Kind *Kind  // the sort of failure; never nil in what maqet returns
	Op   string // what was attempted, as a verb phrase: "add VM", "open store"
	VM   string // name (or ID) of the VM, empty when none is concerned
	Msg  string // what went wrong; empty: the kind's text says it
	Hint string // the next step for the person who reads it, if there is one
	Err  error  // the cause, may be nil
}

// Error joins the parts: op "vm": msg: cause (hint).
func (e *Error) Error() string {
	msg := e.Msg
	if msg == "" && e.Kind != nil && (e.Err == nil || !Is(e.Err, e.Kind)) {
		msg = e.Kind.text
	}
	return sentence(e.Op, e.VM, msg, e.Err, e.Hint)
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error { return kindAndCause(e.Kind, e.Err) }

// Wrap returns an *Error of kind k for a failed op on vm, caused by err; nil when
// err is nil.
func Wrap(k *Kind, op, vm string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Op: op, VM: vm, Err: err}
}

func kindAndCause(k *Kind, err error) []error {
	out := make([]error, 0, 2)
	if k != nil {
		out = append(out, k)
	}
	if err != nil {
		out = append(out, err)
	}
	return out
}

// sentence is the one place where messages are put together, so that all of them
// read alike.
func sentence(op, vm, msg string, cause error, hint string) string {
	var b strings.Builder
	b.WriteString(op)
	if vm != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(vm))
	}
	part := func(s string) {
		if s == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(s)
	}
	part(msg)
	if cause != nil {
		part(cause.Error())
	}
	if hint != "" {
		b.WriteString(" (" + hint + ")")
	}
	return b.String()
}
