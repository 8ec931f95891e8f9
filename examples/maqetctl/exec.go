package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// execFlags say how a program runs in the guest.
type execFlags struct {
	env   []string
	dir   string
	stdin bool
}

func (f *execFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.env, "env", "e", nil, "add KEY=value to its environment; repeatable")
	cmd.Flags().StringVarP(&f.dir, "workdir", "w", "", "its working folder in the guest")
	cmd.Flags().BoolVarP(&f.stdin, "stdin", "i", false, "let it read this command's standard input")
}

const execHelp = `The exit code is the program's, or 128 and the signal's number if a signal ended it.
When maqetctl itself fails it is 125, 126 when the guest can't run the program, 127
when it has no such program, and a message is on standard error. To be sure which it
was, use --json: standard output then has an object with "exit_code" if, and only if,
the program ran, and its output in "stdout" and "stderr".`

func (a *app) execCommand() *cobra.Command {
	var flags execFlags
	cmd := &cobra.Command{
		Use:               "exec VM [--] PROGRAM [ARGUMENT...]",
		Short:             "Run a program in a guest",
		Long:              "Run a program in a guest. No shell is involved: \"sh -c TEXT\" is one.\n\n" + execHelp,
		Example:           "  maqetctl exec web -- ls -l /\n  maqetctl exec -i web -- tar x -C /srv < site.tar",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.vmNames(1),
		Annotations:       map[string]string{guestCodes: "yes"},
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			return a.exec(ctx, args[1:], flags, inGuest(m, args[0]))
		}),
	}
	cmd.Flags().SetInterspersed(false) // what follows the VM's name is the program's
	flags.add(cmd)
	return cmd
}

// execShown is how a program in the guest ended, and what it printed.
type execShown struct {
	ExitCode  int    `json:"exit_code"` // -1 when a signal ended it
	Signal    int    `json:"signal,omitempty"`
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated,omitempty"` // there was more output than is kept
}

// executor runs a program somewhere.
type executor func(context.Context, guest.Command) (guest.Result, error)

// inGuest runs programs by the guest's init or agent.
func inGuest(m *maqet.Maqet, ref string) executor {
	return func(ctx context.Context, cmd guest.Command) (guest.Result, error) { return m.Guest.Exec(ctx, ref, cmd) }
}

// exec runs a program with this process's streams. How it ended is a *guestExit.
func (a *app) exec(ctx context.Context, args []string, flags execFlags, by executor) error {
	if args[0] == "--" { // after the VM's name it is the shell's habit, not the program
		args = args[1:]
	}
	if len(args) == 0 {
		return usagef("which program?")
	}
	if strings.HasPrefix(args[0], "-") { // no guest runs such a program
		return usagef("%q comes after the VM's name, where the program is: flags of maqetctl go in front of the name", args[0])
	}
	cmd := guest.Command{Args: args, Env: flags.env, Dir: flags.dir}
	if !a.json {
		cmd.Stdout, cmd.Stderr = a.out, a.err
	}
	stop := func() error { return nil }
	if flags.stdin {
		var err error
		if cmd.Stdin, stop, err = a.stdin(ctx); err != nil {
			return err
		}
	}
	res, err := by(ctx, cmd)
	_ = stop() // a Read that is under way is of no more use
	var failed *errors.CommandError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	if a.json {
		shown := execShown{res.ExitCode, res.Signal, string(res.Stdout), string(res.Stderr), res.Truncated}
		if err := a.show(shown, func(io.Writer) error { return nil }); err != nil {
			return err
		}
	}
	switch {
	case res.Signal != 0:
		return &guestExit{exitSignal + res.Signal}
	case res.ExitCode != 0:
		return &guestExit{res.ExitCode}
	}
	return nil
}
