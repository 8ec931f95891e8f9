package guesttest

import (
	"context"
	"io"
	"os"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// EnvInside is the environment variable that is 1 for a program that runs in a guest.
const EnvInside = "MAQET_IN_GUEST"

// DefaultLimit is how much of a package's folder is copied, in bytes.
const DefaultLimit = 64 << 20

// Program is a test binary to run in a guest.
type Program struct {
	Path string   // absolute
	Args []string // without the program's name
	Env  []string // added to the guest's, as "KEY=value"; see [Env]
	Dir  string   // working directory, absolute

	// Plain also copies the files of Dir, besides its folder testdata.
	Plain bool
	// Files are more files and folders to copy; relative ones begin in Dir.
	Files []string
	// Limit bounds testdata, and each plain file, in bytes. 0: DefaultLimit.
	Limit int64
	// Left is told of each plain file that is too large to be copied. nil: nobody is.
	Left func(path string, size int64)

	// Stdout and Stderr get the output as it comes; one writer for both keeps its order.
	Stdout, Stderr io.Writer
	// Signals are passed on to the program. nil: none are.
	Signals <-chan os.Signal
}

// Exit is how a program ended.
type Exit struct {
	Code   int // -1 when a signal ended it
	Signal int // its number, 0 for none
}

// Run copies the program and its files into the guest, runs it, and copies out what its
// flags have it write, also when it failed. When ctx ends the program is killed, and what it
// wrote stays in the guest.
func (p Program) Run(ctx context.Context, g *maqet.Machine) (Exit, error) {
	inst, err := g.Instance(ctx)
	if err == nil {
		err = checkArch(p.Path, inst)
	}
	if err != nil {
		return Exit{}, err
	}
	out := p.outputs()
	if err := p.copyIn(ctx, g, out); err != nil {
		return Exit{}, err
	}
	exit, err := p.exec(ctx, g)
	if err != nil {
		return exit, err
	}
	return exit, out.copyOut(ctx, g)
}

// exec runs the program. That it fails is no error.
func (p Program) exec(ctx context.Context, g *maqet.Machine) (Exit, error) {
	cmd := guest.Command{
		Args: append([]string{p.Path}, p.Args...), Dir: p.Dir, Stdout: p.Stdout, Stderr: p.Stderr,
		Env: append([]string{"PWD=" + p.Dir, EnvInside + "=1"}, p.Env...),
	}
	if p.Signals != nil {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		var stop func()
		cmd.Args, stop = forward(ctx, cancel, g, cmd.Args, p.Signals)
		defer stop()
	}
	res, err := g.Command(ctx, cmd)
	var failed *errors.CommandError
	if errors.As(err, &failed) {
		err = nil
	}
	return Exit{Code: res.ExitCode, Signal: res.Signal}, err
}
