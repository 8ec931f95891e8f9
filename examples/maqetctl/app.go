package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
)

// app is one invocation of maqetctl.
type app struct {
	in       io.Reader
	out, err io.Writer

	// Global flags.
	dir     string
	libvirt []string // [NAME=]URI
	json    bool
	yes     bool
	verbose bool
	timeout time.Duration

	began bool // a command's own code was reached: what fails before is wrong usage
}

// run is maqetctl: it does what args say and returns the exit code. When ctx ends,
// commands end soon, and what they had begun is undone or goes on, as each says. It is
// safe to call several at once.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.began {
		wrong := &usageError{err: err, command: cmd.CommandPath()}
		if cmd != root { // which one root would be about is not known
			wrong.use = cmd.UseLine()
		}
		err = wrong
		a.json = a.json || asksForJSON(args) // flags after the wrong one were not read
	}
	if err != nil && ctx.Err() != nil {
		err = &interruptedError{err}
	}
	return a.finish(cmd, err)
}

// action is what a command does with an open Maqet.
type action func(ctx context.Context, m *maqet.Maqet, args []string) error

// with makes a command of fn: it opens a Maqet, and closes it after fn, which ends what
// is ephemeral.
func (a *app) with(fn action) func(*cobra.Command, []string) error {
	return a.plain(func(ctx context.Context, args []string) (err error) {
		m, err := a.open()
		if err != nil {
			return err
		}
		defer func() { err = joined(err, m.Close()) }()
		return fn(ctx, m, args)
	})
}

// plain makes a command of fn, which needs no Maqet.
func (a *app) plain(fn func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if a.timeout < 0 {
			return usagef("--timeout %s is negative", a.timeout)
		}
		a.began = true
		ctx := cmd.Context()
		if a.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, a.timeout)
			defer cancel()
		}
		return fn(ctx, args)
	}
}

// open returns a Maqet on the folder that was chosen.
func (a *app) open(opts ...maqet.Option) (*maqet.Maqet, error) {
	if dir := a.folder(); dir != "" {
		opts = append(opts, maqet.WithDir(dir))
	}
	for _, host := range a.hosts() {
		opts = append(opts, libvirtOption(host))
	}
	return maqet.New(append(opts, maqet.WithLogger(a.logger()))...)
}

func (a *app) logger() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// joined is errors.Join that leaves a single error as it is.
func joined(err, other error) error {
	switch {
	case other == nil:
		return err
	case err == nil:
		return other
	}
	return errors.Join(err, other)
}

// envDir is the environment variable that --dir is taken from by default.
const envDir = "MAQET_DIR"

// folder is the folder of everything; empty: the library's own choice.
func (a *app) folder() string { return ifEmpty(a.dir, os.Getenv(envDir)) }
