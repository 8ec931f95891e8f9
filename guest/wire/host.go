package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"time"
)

// ExecRequest is a program to run in the guest. The zero value of each field
// but Args works.
type ExecRequest struct {
	Args   []string  // Args[0] is the program: a path, or a name that is looked up in PATH; then its arguments
	Env    []string  // "KEY=value", added to PATH, HOME and TERM of the guest's init; later ones win
	Dir    string    // working directory; "" is "/"
	Stdin  io.Reader // standard input; nil: empty
	Stdout io.Writer // standard output as it comes; nil: dropped
	Stderr io.Writer // standard error as it comes; nil: dropped; the same as Stdout: one pipe, order kept
}

// Exec runs a program in a session and process group of its own and returns
// when it has exited and its output was passed on. A program that fails is not
// an error here: see the result. What its background children write after it
// has exited is lost.
//
// When the context ends the guest kills the whole process group. A program
// that can't be started is a [RemoteError] that matches fs.ErrNotExist or
// fs.ErrPermission. Args, Env and Dir together are limited to 64 KiB. An error
// of Stdout or Stderr ends the program and is returned; one of Stdin as well.
func (s *Session) Exec(ctx context.Context, req ExecRequest) (ExecResult, error) {
	if len(req.Args) == 0 || req.Args[0] == "" {
		return ExecResult{}, errors.New("wire: exec: no program is given")
	}
	cmd := Command{
		Args: req.Args, Env: req.Env, Dir: req.Dir,
		Stdin: req.Stdin != nil, Stdout: req.Stdout != nil, Stderr: req.Stderr != nil,
	}
	if cmd.Merge = cmd.Stdout && sameWriter(req.Stdout, req.Stderr); cmd.Merge {
		req.Stderr = nil
	}
	reply, err := s.do(ctx, request{
		op:   opExec,
		args: cmd.encode(),
		send: fromReader(req.Stdin),
		recv: [2]func(*In) error{toWriter(req.Stdout), toWriter(req.Stderr)},
	})
	if err != nil {
		return ExecResult{}, err
	}
	d := &decoder{b: reply}
	res := ExecResult{ExitCode: int(d.int()), Signal: int(d.int())}
	return res, d.err
}

// sameWriter reports whether two writers are one; types that can't be compared
// are not.
func sameWriter(a, b io.Writer) bool {
	return b != nil && reflect.TypeOf(a).Comparable() && a == b
}

// ReadFile writes a guest file's content to w, whatever its size, and files
// without one (below /proc) until their end.
func (s *Session) ReadFile(ctx context.Context, path string, w io.Writer) error {
	e := &encoder{}
	e.string(path)
	_, err := s.do(ctx, request{op: opReadFile, args: e.b, recv: [2]func(*In) error{toWriter(w)}})
	return err
}

// WriteFile creates or replaces a guest file with what r yields. The file
// appears under its name only when it is complete: it is written beside it and
// renamed; a failure or a cancellation leaves what was there. A zero mode is
// 0644. Where path is a device, a pipe or a file that can't be replaced (below
// /proc and /sys), r is written to it as it is.
func (s *Session) WriteFile(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
	if r == nil {
		return errors.New("wire: write file: no reader is given")
	}
	e := &encoder{}
	e.string(path)
	e.uint(uint64(mode))
	_, err := s.do(ctx, request{op: opWriteFile, args: e.b, send: fromReader(r)})
	return err
}

// Stat describes a guest file; a symbolic link is described itself.
func (s *Session) Stat(ctx context.Context, path string) (FileInfo, error) {
	e := &encoder{}
	e.string(path)
	reply, err := s.do(ctx, request{op: opStat, args: e.b})
	if err != nil {
		return FileInfo{}, err
	}
	return decodeFileInfo(reply)
}

// Ping returns when the guest has answered.
func (s *Session) Ping(ctx context.Context) error {
	_, err := s.do(ctx, request{op: opPing})
	return err
}

// Reseed gives the guest's random generator new bytes, at most 256, and has it
// use them at once: two forks of one guest differ from then on. With nil it
// makes up the bytes itself.
func (s *Session) Reseed(ctx context.Context, seed []byte) error {
	if seed == nil {
		seed = newSeed()
	}
	if len(seed) == 0 || len(seed) > maxSeed {
		return fmt.Errorf("wire: reseed with %d bytes, 1 to %d are possible", len(seed), maxSeed)
	}
	e := &encoder{}
	e.bytes(seed)
	_, err := s.do(ctx, request{op: opReseed, args: e.b})
	return err
}

// SetTime sets the guest's clock.
func (s *Session) SetTime(ctx context.Context, t time.Time) error {
	e := &encoder{}
	e.time(t)
	_, err := s.do(ctx, request{op: opSetTime, args: e.b})
	return err
}
