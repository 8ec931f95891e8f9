package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/errors"
)

// Verdicts of a check.
const (
	verdictOK      = "ok"
	verdictWarning = "warning" // works, but not as well as it could
	verdictFailed  = "failed"  // VMs can't be run
	verdictAbsent  = "absent"  // something that only some VMs need
)

// check is one line of what 'doctor' found.
type check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // "ok", "warning", "failed" or "absent"
	Detail  string `json:"detail"`
	Do      string `json:"do,omitempty"` // what helps

	err error // why it failed
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this host can run VMs, and say what to do",
		Long: "Check whether this host can run VMs, and say what to do. It repairs nothing. The\n" +
			"first time, it compiles the default guest's init and builds its RAM disk.",
		Args: cobra.NoArgs,
		RunE: a.plain(func(ctx context.Context, _ []string) error {
			checks, err := a.examine(ctx)
			if err != nil {
				return err
			}
			var rows [][]string
			var failed []error
			for _, c := range checks {
				rows = append(rows, []string{c.Name, c.Verdict, c.Detail})
				if c.Verdict == verdictFailed {
					failed = append(failed, c.err)
				}
			}
			err = a.show(checks, func(w io.Writer) error { return joined(table("CHECK VERDICT DETAIL", rows)(w), advise(w, checks)) })
			if len(failed) > 0 {
				err = joined(fmt.Errorf("%d of %d checks failed: %w", len(failed), len(checks), failed[0]), err)
			}
			return err
		}),
	}
}

// advise prints what to do, where there is something.
func advise(w io.Writer, checks []check) error {
	for _, c := range checks {
		if c.Do == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", c.Name, printable(c.Do)); err != nil {
			return err
		}
	}
	return nil
}

// examine does all checks.
func (a *app) examine(ctx context.Context) ([]check, error) {
	where, err := a.folders()
	if err != nil {
		return nil, err
	}
	checks := where.check()
	for _, fn := range []func(context.Context, folders) []check{checkQEMU, checkImages, checkKernel, checkGuest, a.checkStore, checkHelpers} {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		checks = append(checks, fn(ctx, where)...)
	}
	return checks, ctx.Err()
}

func good(name, format string, args ...any) check {
	return check{Name: name, Verdict: verdictOK, Detail: fmt.Sprintf(format, args...)}
}

// bad is a check that failed; what to do is the error's own hint, if it has one.
func bad(name string, err error, do string) check {
	var e *errors.Error
	if do == "" && errors.As(err, &e) {
		do = e.Hint
	}
	return check{Name: name, Verdict: verdictFailed, Detail: firstLine(err.Error()), Do: do, err: err}
}
