package guest

import (
	"bytes"
	"context"
	"io"

	"github.com/maqet/maqet/errors"
)

// scripts are what a way does by the guest's shell.
type scripts struct {
	run func(ctx context.Context, cmd Command) (exit, error)
}

func (s scripts) isDir(ctx context.Context, path string) (bool, error) {
	return s.test(ctx, `[ -d "$1" ]`, path)
}

const scriptExists = `[ -e "$1" ] || [ -L "$1" ]`

func (s scripts) exists(ctx context.Context, path string) (bool, error) {
	return s.test(ctx, scriptExists, path)
}

// test runs a script whose exit code is the answer.
func (s scripts) test(ctx context.Context, script string, args ...string) (bool, error) {
	end, _, err := s.shell(ctx, script, args...)
	return end.code == 0, err
}

// shell runs a script, in which args are "$1", "$2" and so on: nothing of a user's
// is ever part of the script's text. It returns what it wrote without the last newline.
func (s scripts) shell(ctx context.Context, script string, args ...string) (exit, string, error) {
	var out capture
	cmd := Command{Args: append([]string{"sh", "-c", script, "sh"}, args...), Stdout: &out, Stderr: io.Discard}
	end, err := s.run(ctx, cmd)
	text, _ := out.take()
	return end, string(bytes.TrimSuffix(text, []byte("\n"))), err
}

// must is shell for a script that has to succeed.
func (s scripts) must(ctx context.Context, what, script string, args ...string) (string, error) {
	var stdout, stderr capture
	cmd := Command{Args: append([]string{"sh", "-c", script, "sh"}, args...), Stdout: &stdout, Stderr: &stderr}
	end, err := s.run(ctx, cmd)
	if err != nil {
		return "", err
	}
	if end.code != 0 {
		text, _ := stderr.take()
		return "", &errors.Error{Kind: errors.ErrGuest, Err: &errors.CommandError{
			Args: []string{what}, ExitCode: end.code, Signal: end.signal, Stderr: string(text),
		}}
	}
	text, _ := stdout.take()
	return string(bytes.TrimSuffix(text, []byte("\n"))), nil
}
