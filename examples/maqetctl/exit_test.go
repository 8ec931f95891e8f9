package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestExitCodes(t *testing.T) {
	start := func(cause error) error { return &errors.StartError{VM: "web", Step: "launch", Err: cause} }
	for _, c := range []struct {
		err  error
		code int
		kind string
	}{
		{errors.New("anything"), 1, "Failure"},
		{errors.Wrap(errors.ErrQMPConnection, "x", "web", errors.New("lost")), 1, "QMPConnection"},
		{usagef("wrong"), 2, "Usage"},
		{errors.Wrap(errors.ErrVMNotFound, "x", "web", errors.New("y")), 3, "VMNotFound"},
		{errors.Wrap(errors.ErrConfigFileNotFound, "x", "", fs.ErrNotExist), 3, "ConfigFileNotFound"},
		{start(errors.Wrap(errors.ErrImageNotFound, "x", "", errors.New("y"))), 3, "ImageNotFound"},
		{&errors.QMPError{Command: "device_del", Class: "DeviceNotFound"}, 3, "QMPCommand"},
		{&errors.QMPError{Command: "device_del", Class: "GenericError"}, 1, "QMPCommand"},
		{fmt.Errorf("read: %w", os.ErrNotExist), 3, "NotFound"},
		{errors.Wrap(errors.ErrVMAlreadyExists, "x", "web", errors.New("y")), 4, "VMAlreadyExists"},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrExist}, 4, "Exists"},
		{&errors.TransitionError{VM: "web", Op: "start", State: "running"}, 5, "IllegalTransition"},
		{&errors.TransitionError{Kind: errors.ErrVMAlreadyRunning}, 5, "VMAlreadyRunning"},
		{errors.Wrap(errors.ErrVMNotRunning, "x", "web", errors.New("y")), 5, "VMNotRunning"},
		{errors.Wrap(errors.ErrImageInUse, "x", "", errors.New("y")), 5, "ImageInUse"},
		{errors.Wrap(errors.ErrDeviceBusy, "x", "", errors.New("y")), 5, "DeviceBusy"},
		{context.DeadlineExceeded, 6, "Timeout"},
		{start(errors.Wrap(errors.ErrWaitTimeout, "", "", context.DeadlineExceeded)), 6, "WaitTimeout"},
		{&errors.ConfigError{Problems: []errors.Problem{{Field: "memory"}}}, 7, "ConfigValidation"},
		{errors.Wrap(errors.ErrInvalidConfiguration, "x", "", errors.New("y")), 7, "InvalidConfiguration"},
		{&deniedError{"no"}, 8, "Denied"},
		{errors.Wrap(errors.ErrQMPDenied, "x", "web", errors.New("y")), 8, "QMPDenied"},
		{start(errors.Wrap(errors.ErrQEMUNotFound, "x", "", fs.ErrNotExist)), 9, "QEMUNotFound"},
		{errors.Wrap(errors.ErrKernelNotFound, "x", "", errors.New("y")), 9, "KernelNotFound"},
		{&interruptedError{context.Canceled}, 130, "Interrupted"},
	} {
		require.Equal(t, c.code, exitCode(nil, c.err), "%v", c.err)
		require.Equal(t, c.kind, kindOf(c.err), "%v", c.err)
		require.Equal(t, c.code, describe(c.err, c.code).ExitCode)
	}
	require.Zero(t, exitCode(nil, nil))
}

// TestExitCodesOfGuests is about commands that hand on the code of a program in the guest.
func TestExitCodesOfGuests(t *testing.T) {
	cmd := &cobra.Command{Annotations: map[string]string{guestCodes: "yes"}}
	for _, c := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{&guestExit{7}, 7},
		{&guestExit{125}, 125}, // --json tells it from the next
		{errors.Wrap(errors.ErrVMNotFound, "x", "web", errors.New("y")), 125},
		{usagef("wrong"), 125},
		{context.DeadlineExceeded, 125},
		{errors.Wrap(errors.ErrCommandFailed, "run", "web", errors.New("permission denied")), 126},
		{errors.Wrap(errors.ErrCommandFailed, "run", "web", fs.ErrNotExist), 127},
		{&interruptedError{context.Canceled}, 130},
	} {
		require.Equal(t, c.code, exitCode(cmd, c.err), "%v", c.err)
	}
}

func TestFailureHasEvidence(t *testing.T) {
	f := describe(&errors.StartError{
		VM: "web", Step: "handshake", Args: []string{"qemu", "-S"}, Exit: &errors.ExitStatus{Known: true, Code: 1},
		Stderr: "no such device", Console: "panic", Err: &errors.ConfigError{VM: "web", Problems: []errors.Problem{
			{Field: "memory", Value: "1", Message: "is little", Fix: "give more", File: "a.yaml", Line: 3, Column: 9, Nearest: "n", Snippet: "s"}}},
	}, 7)
	require.Equal(t, "ConfigValidation", f.Kind)
	require.Equal(t, "web", f.VM)
	require.Equal(t, []failedProblem{{"memory", "1", "is little", "give more", "a.yaml", 3, 9, "n", "s"}}, f.Problems)
	require.Equal(t, &failedStart{"handshake", []string{"qemu", "-S"}, "exit status 1", "no such device", "panic"}, f.Start)
}

// TestDocs keeps docs/maqetctl.md complete: commands, global flags and exit codes.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/maqetctl.md")
	require.NoError(t, err)
	docs := string(data)
	root := (&app{}).root()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		if !c.HasSubCommands() {
			require.Contains(t, docs, "| `"+strings.TrimPrefix(c.CommandPath(), "maqetctl "), c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range root.Commands() {
		walk(c)
	}
	for _, c := range exitCodes {
		require.Contains(t, docs, "| "+strconv.Itoa(c.code)+" | "+c.text+" |")
	}
	for _, name := range []string{"dir", "libvirt", "json", "yes", "timeout", "verbose"} {
		require.NotNil(t, root.PersistentFlags().Lookup(name))
		require.Contains(t, docs, "`--"+name)
	}
	for _, name := range []string{"MAQET_DIR", "MAQET_LIBVIRT", "MAQET_QEMU", "MAQET_QEMU_IMG", "MAQET_KERNEL"} {
		require.Contains(t, docs, "`"+name+"`")
		require.Contains(t, root.Long, name)
	}
}
