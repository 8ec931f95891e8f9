package main

import (
	"bufio"
	"context"
	"strings"
)

// confirm asks before something is destroyed. nil means yes; it never takes silence for
// one, and does not ask where nobody can answer.
func (a *app) confirm(ctx context.Context, question string) error {
	if a.yes {
		return nil
	}
	if !isTerminal(a.in) || !isTerminal(a.err) || a.json { // else the question would not be seen
		return &deniedError{"this would " + question + ", and nobody can be asked here: give --yes"}
	}
	in, stop, err := a.stdin(ctx)
	if err != nil {
		return err
	}
	a.say("%s%s? [y/N] ", strings.ToUpper(question[:1]), question[1:])
	answer, err := bufio.NewReader(in).ReadString('\n')
	err = joined(ignoring(err, ended), stop())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &deniedError{"not done: you did not say yes"}
}

// ignoring returns nil for errors that fn accepts.
func ignoring(err error, fn func(error) bool) error {
	if err == nil || fn(err) {
		return nil
	}
	return err
}
