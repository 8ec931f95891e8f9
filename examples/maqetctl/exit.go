package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/errors"
)

// Exit codes. They are stable, and docs/maqetctl.md lists them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitExists      = 4
	exitState       = 5
	exitTimeout     = 6
	exitConfig      = 7
	exitDenied      = 8
	exitMissing     = 9
	exitToolFailed  = 125 // of exec and run, whose other codes are the guest command's
	exitCantRun     = 126
	exitNoProgram   = 127
	exitSignal      = 128 // and the signal's number
	exitInterrupted = 130
	exitUnread      = 141
)

var exitCodes = []struct {
	code int
	text string
}{
	{exitOK, "done"},
	{exitFailure, "it failed"},
	{exitUsage, "the command line is wrong"},
	{exitNotFound, "a VM, snapshot, template, device, image or file is not there"},
	{exitExists, "a VM, snapshot or file of that name exists"},
	{exitState, "the VM is in a state, or something is in use or in the way, that does not allow it"},
	{exitTimeout, "time ran out"},
	{exitConfig, "a configuration is invalid, or can't be used here"},
	{exitDenied, "not allowed: you said no, could not be asked (see --yes), or a policy denies it"},
	{exitMissing, "QEMU, or a kernel for the guest, is missing"},
	{exitToolFailed, "exec, ssh and run: maqetctl itself failed, in any of the ways above"},
	{exitCantRun, "exec, ssh and run: the guest can't run the program"},
	{exitNoProgram, "exec, ssh and run: the guest has no such program"},
	{exitInterrupted, "interrupted by a signal, such as Ctrl-C"},
	{exitUnread, "who read standard output had enough, such as head"},
}

func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.text)
	}
	return b.String()
}

// usageError is a command line that is wrong.
type usageError struct {
	err     error
	command string // to ask for help about
	use     string // how it is written
}

// Error says what is wrong, how the command is written, and where to read more.
func (e *usageError) Error() string {
	text := e.err.Error()
	if e.command == "" {
		return text
	}
	if e.use != "" {
		text += "\nUsage: " + e.use
	}
	return text + "\nSee '" + e.command + " --help'."
}

// Unwrap returns what is wrong.
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{err: fmt.Errorf(format, args...)} }

// deniedError is something that the user did not allow.
type deniedError struct{ msg string }

// Error returns the message.
func (e *deniedError) Error() string { return e.msg }

// interruptedError is whatever failed because the process was told to end.
type interruptedError struct{ err error }

// Error says so, without the error that this has caused.
func (e *interruptedError) Error() string { return "interrupted" }

// Unwrap returns what failed.
func (e *interruptedError) Unwrap() error { return e.err }

// guestExit is a program in the guest that ended by itself, with a code other than 0:
// that code becomes this process's, and nothing is printed about it.
type guestExit struct{ code int }

// Error names the code.
func (e *guestExit) Error() string { return fmt.Sprintf("the guest's program ended with %d", e.code) }

// guestCodes marks the commands whose exit code is that of a program in the guest.
const guestCodes = "guest exit codes"

// exitCode is what the process ends with. cmd is the command that was run.
func exitCode(cmd *cobra.Command, err error) int {
	code := exitOf(err)
	if code == exitOK || code == exitInterrupted || code == exitUnread || cmd == nil || cmd.Annotations[guestCodes] == "" {
		return code
	}
	var ended *guestExit
	var failed *errors.CommandError
	switch {
	case errors.As(err, &ended):
		return ended.code
	case errors.Is(err, errors.ErrCommandFailed) && !errors.As(err, &failed):
		if errors.Is(err, fs.ErrNotExist) {
			return exitNoProgram
		}
		return exitCantRun
	}
	return exitToolFailed
}

// exitOf finds the exit code of an error. What comes first is what tells most: an error
// often is several things, as a start that failed because a file is missing.
func exitOf(err error) int {
	if err == nil {
		return exitOK
	}
	for _, c := range []struct {
		code int
		is   func(error) bool
	}{
		{exitInterrupted, isA[*interruptedError]},
		{exitUnread, isUnread},
		{exitUsage, isA[*usageError]},
		{exitDenied, func(err error) bool { return isA[*deniedError](err) || anyOf(err, errors.ErrQMPDenied) }},
		{exitMissing, of(errors.ErrQEMUNotFound, errors.ErrKernelNotFound, errors.ErrLibvirtConnection)},
		{exitTimeout, of(errors.ErrWaitTimeout, errors.ErrQMPTimeout, context.DeadlineExceeded)},
		{exitNotFound, of(errors.ErrVMNotFound, errors.ErrSnapshotNotFound, errors.ErrTemplateNotFound, errors.ErrImageNotFound, errors.ErrConfigFileNotFound)},
		{exitNotFound, isDeviceNotFound},
		{exitExists, of(errors.ErrVMAlreadyExists, errors.ErrSnapshotExists, errors.ErrTemplateExists, fs.ErrExist)},
		{exitConfig, of(errors.ErrConfiguration)},
		{exitState, of(errors.ErrIllegalTransition, errors.ErrVMNotRunning, errors.ErrVMAlreadyRunning, errors.ErrImageInUse, errors.ErrTemplateInUse,
			errors.ErrDeviceBusy, errors.ErrDatabaseLock, errors.ErrSnapshotBlocked)},
		{exitNotFound, of(fs.ErrNotExist)},
	} {
		if c.is(err) {
			return c.code
		}
	}
	return exitFailure
}

func isA[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func of(targets ...error) func(error) bool {
	return func(err error) bool { return anyOf(err, targets...) }
}

func anyOf(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// isUnread reports whether standard output was a pipe that nobody reads any more.
func isUnread(err error) bool {
	var failed *fs.PathError
	return errors.As(err, &failed) && failed.Path == os.Stdout.Name() && errors.Is(failed.Err, syscall.EPIPE)
}

// isDeviceNotFound looks for QEMU's own word for it (QMP specification, "Error").
func isDeviceNotFound(err error) bool {
	var refused *errors.QMPError
	return errors.As(err, &refused) && refused.Class == "DeviceNotFound"
}
