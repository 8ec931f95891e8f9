package main

import (
	"encoding/json"
	"slices"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
)

// failure is an error as --json prints it.
type failure struct {
	Kind     string          `json:"kind"` // see kindOf
	ExitCode int             `json:"exit_code"`
	Message  string          `json:"message"`
	Hint     string          `json:"hint,omitempty"`
	VM       string          `json:"vm,omitempty"`
	Problems []failedProblem `json:"problems,omitempty"` // of a configuration
	Start    *failedStart    `json:"start,omitempty"`
	// Blockers are what stands in the way of a snapshot.
	Blockers []snapshot.Blocker `json:"blockers,omitempty"`
}

type failedProblem struct {
	Field   string `json:"field,omitempty"`
	Value   string `json:"value,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`    // from 1
	Column  int    `json:"column,omitempty"`  // from 1, in characters
	Nearest string `json:"nearest,omitempty"` // the valid key or name that may have been meant
	Snippet string `json:"snippet,omitempty"` // the line, and below it a mark at the column
}

// failedStart is the evidence of a start that failed.
type failedStart struct {
	Step    string   `json:"step"`
	Args    []string `json:"args,omitempty"`
	Exit    string   `json:"exit,omitempty"`
	Stderr  string   `json:"stderr,omitempty"`
	Console string   `json:"console,omitempty"`
}

// finish prints err, if there is something to say, and returns the exit code.
func (a *app) finish(cmd *cobra.Command, err error) int {
	code := exitCode(cmd, err)
	if err == nil || isA[*guestExit](err) || code == exitUnread {
		return code
	}
	if !a.json {
		a.say("maqetctl: %v\n", err)
		return code
	}
	data, _ := json.Marshal(map[string]failure{"error": describe(err, code)}) // of texts and numbers: can't fail
	a.say("%s\n", data)
	return code
}

func describe(err error, code int) failure {
	f := failure{Kind: kindOf(err), ExitCode: code, Message: err.Error()}
	var general *errors.Error
	if errors.As(err, &general) {
		f.VM, f.Hint = general.VM, general.Hint
	}
	var state *errors.TransitionError
	if errors.As(err, &state) {
		f.VM, f.Hint = state.VM, state.Hint
	}
	var config *errors.ConfigError
	if errors.As(err, &config) {
		f.VM = config.VM
		for _, p := range config.Problems {
			f.Problems = append(f.Problems, failedProblem{p.Field, p.Value, p.Message, p.Fix, p.File, p.Line, p.Column, p.Nearest, p.Snippet})
		}
	}
	var start *errors.StartError
	if errors.As(err, &start) {
		f.VM = start.VM
		f.Start = &failedStart{Step: start.Step, Args: start.Args, Stderr: start.Stderr, Console: start.Console}
		if start.Exit != nil {
			f.Start.Exit = start.Exit.String()
		}
	}
	var blocked *snapshot.BlockedError
	if errors.As(err, &blocked) {
		f.VM, f.Blockers = blocked.VM, blocked.Blockers
	}
	return f
}

// kindOf names the sort of failure: the name of a kind of package errors, or Usage,
// Denied, Interrupted, Timeout, NotFound, Exists, or Failure for what is none of these.
func kindOf(err error) string {
	switch exitOf(err) {
	case exitInterrupted:
		return "Interrupted"
	case exitUsage:
		return "Usage"
	}
	if isA[*deniedError](err) {
		return "Denied"
	}
	kind := errors.KindOf(err)
	var start *errors.StartError
	if errors.As(err, &start) { // why says more than that
		if why := errors.KindOf(start.Err); why != nil {
			kind = why
		}
	}
	if kind != nil && kind != errors.ErrMaqet {
		return kind.Name()
	}
	switch exitOf(err) {
	case exitTimeout:
		return "Timeout"
	case exitNotFound:
		return "NotFound"
	case exitExists:
		return "Exists"
	}
	return "Failure"
}

// asksForJSON reports whether --json is among the arguments, for when they could not be
// read.
func asksForJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}
