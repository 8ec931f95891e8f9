package errors_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// tree is the whole tree, child -> parent, as the design has it.
var tree = map[*errors.Kind]*errors.Kind{
	errors.ErrMaqet:                nil,
	errors.ErrConfiguration:        errors.ErrMaqet,
	errors.ErrConfigFileNotFound:   errors.ErrConfiguration,
	errors.ErrConfigValidation:     errors.ErrConfiguration,
	errors.ErrInvalidConfiguration: errors.ErrConfiguration,
	errors.ErrKernelNotFound:       errors.ErrInvalidConfiguration,
	errors.ErrVMLifecycle:          errors.ErrMaqet,
	errors.ErrVMNotFound:           errors.ErrVMLifecycle,
	errors.ErrVMAlreadyExists:      errors.ErrVMLifecycle,
	errors.ErrVMAlreadyRunning:     errors.ErrVMLifecycle,
	errors.ErrVMNotRunning:         errors.ErrVMLifecycle,
	errors.ErrVMStart:              errors.ErrVMLifecycle,
	errors.ErrVMStop:               errors.ErrVMLifecycle,
	errors.ErrIllegalTransition:    errors.ErrVMLifecycle,
	errors.ErrWaitTimeout:          errors.ErrVMLifecycle,
	errors.ErrQMP:                  errors.ErrMaqet,
	errors.ErrQMPConnection:        errors.ErrQMP,
	errors.ErrQMPCommand:           errors.ErrQMP,
	errors.ErrQMPTimeout:           errors.ErrQMP,
	errors.ErrQMPDenied:            errors.ErrQMP,
	errors.ErrQMPUnsupported:       errors.ErrQMP,
	errors.ErrDeviceBusy:           errors.ErrQMP,
	errors.ErrStorage:              errors.ErrMaqet,
	errors.ErrImageNotFound:        errors.ErrStorage,
	errors.ErrImageCreation:        errors.ErrStorage,
	errors.ErrImageInUse:           errors.ErrStorage,
	errors.ErrSnapshot:             errors.ErrMaqet,
	errors.ErrSnapshotNotFound:     errors.ErrSnapshot,
	errors.ErrSnapshotExists:       errors.ErrSnapshot,
	errors.ErrSnapshotCreation:     errors.ErrSnapshot,
	errors.ErrSnapshotBlocked:      errors.ErrSnapshot,
	errors.ErrTemplateNotFound:     errors.ErrSnapshot,
	errors.ErrTemplateExists:       errors.ErrSnapshot,
	errors.ErrTemplateInUse:        errors.ErrSnapshot,
	errors.ErrTemplateMismatch:     errors.ErrSnapshot,
	errors.ErrGuest:                errors.ErrMaqet,
	errors.ErrAgentUnavailable:     errors.ErrGuest,
	errors.ErrGuestPanic:           errors.ErrGuest,
	errors.ErrGuestSilent:          errors.ErrGuest,
	errors.ErrCommandFailed:        errors.ErrGuest,
	errors.ErrState:                errors.ErrMaqet,
	errors.ErrDatabase:             errors.ErrState,
	errors.ErrDatabaseLock:         errors.ErrState,
	errors.ErrBackend:              errors.ErrMaqet,
	errors.ErrHostUnreachable:      errors.ErrBackend,
	errors.ErrLibvirtConnection:    errors.ErrHostUnreachable,
	errors.ErrQEMUNotFound:         errors.ErrBackend,
}

// ancestors returns k and everything above it, by the table.
func ancestors(k *errors.Kind) map[*errors.Kind]bool {
	up := map[*errors.Kind]bool{}
	for ; k != nil; k = tree[k] {
		up[k] = true
	}
	return up
}

func TestTreeUpAndDown(t *testing.T) {
	for k, parent := range tree {
		require.Equal(t, parent, k.Parent(), k.Name())
		wrapped := fmt.Errorf("layer: %w", errors.Wrap(k, "op", "web", io.EOF))
		up := ancestors(k)
		for other := range tree {
			require.Equal(t, up[other], errors.Is(k, other), "%s is %s", k.Name(), other.Name())
			require.Equal(t, up[other], errors.Is(wrapped, other), "wrapped %s is %s", k.Name(), other.Name())
		}
		require.ErrorIs(t, wrapped, io.EOF)
		require.Same(t, k, errors.KindOf(wrapped))
	}
}

// TestTableIsComplete finds every exported Err variable in the source.
func TestTableIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "kinds.go", nil, 0)
	require.NoError(t, err)
	names := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			names[spec.Names[0].Name] = true
		}
		return true
	})
	require.Len(t, names, len(tree))
	for k := range tree {
		require.True(t, names["Err"+k.Name()], "Err%s", k.Name())
	}
}

func TestKindOfOthers(t *testing.T) {
	require.Nil(t, errors.KindOf(nil))
	require.Nil(t, errors.KindOf(io.EOF))
	require.NoError(t, errors.Wrap(errors.ErrVMStart, "start", "web", nil))
}

// TestStartErrorDoesNotRepeatItsCause: a QEMU that ends in the handshake is in the cause
// already, unless it said more than one line.
func TestStartErrorDoesNotRepeatItsCause(t *testing.T) {
	e := &errors.StartError{VM: "web", Step: "handshake", Exit: &errors.ExitStatus{Known: true, Code: 1},
		Stderr: "qemu: no disk\n", Err: errors.New("connection lost: QEMU ended with exit status 1: qemu: no disk")}
	require.Equal(t, `start VM "web": step handshake: connection lost: QEMU ended with exit status 1: qemu: no disk`, e.Error())
	e.Stderr = "qemu: a warning\nqemu: no disk\n"
	require.Contains(t, e.Error(), "\nQEMU's stderr:\n  qemu: a warning\n  qemu: no disk")
	e.Err = errors.New("connection lost")
	require.Contains(t, e.Error(), "connection lost\nQEMU ended with exit status 1\nQEMU's stderr:\n  qemu: a warning")
	e.Err, e.Stderr = nil, "qemu: no disk"
	require.Contains(t, e.Error(), "\nQEMU's stderr:\n  qemu: no disk")
	e.Console = "the end"
	require.Contains(t, e.Error(), "\nconsole:\n  the end")
	e.Err = &errors.GuestError{Kind: errors.ErrGuestPanic, Console: "the end"}
	require.Equal(t, 1, strings.Count(e.Error(), "the end"), "the panic has it already")
}

func TestTypedErrorsHaveKinds(t *testing.T) {
	cause := fmt.Errorf("slow: %w", context.DeadlineExceeded)
	for _, c := range []struct {
		err   error
		kinds []*errors.Kind
		text  []string
	}{
		{&errors.QMPError{VM: "web", Command: "device_add", Class: "DeviceNotFound", Desc: "no bus"},
			[]*errors.Kind{errors.ErrQMPCommand, errors.ErrQMP}, []string{`QMP device_add "web"`, "DeviceNotFound: no bus"}},
		{&errors.StartError{VM: "web", Step: "launch", Exit: &errors.ExitStatus{Known: true, Code: 1},
			Stderr: "bad machine\n", Console: "a\nb", Err: cause, Hint: "try q35"},
			[]*errors.Kind{errors.ErrVMStart, errors.ErrVMLifecycle},
			[]string{`start VM "web": step launch: slow`, "(try q35)", "exit status 1", "stderr:\n  bad machine", "console:\n  a\n  b"}},
		{&errors.TransitionError{Kind: errors.ErrVMAlreadyRunning, VM: "web", Op: "start", State: "running"},
			[]*errors.Kind{errors.ErrVMAlreadyRunning, errors.ErrIllegalTransition}, []string{`start VM "web": not possible while it is running`}},
		{&errors.TransitionError{VM: "web", Op: "remove", State: "running"}, []*errors.Kind{errors.ErrIllegalTransition}, []string{"remove"}},
		{&errors.GuestError{Kind: errors.ErrGuestPanic, VM: "web", Msg: "Kernel panic", Console: "oops"},
			[]*errors.Kind{errors.ErrGuestPanic, errors.ErrGuest}, []string{`VM "web": guest panicked: Kernel panic`, "oops"}},
		{&errors.CommandError{VM: "web", Args: []string{"ls", "a b"}, ExitCode: 2, Stderr: "no such file"},
			[]*errors.Kind{errors.ErrCommandFailed}, []string{`["ls" "a b"]`, "exit status 2", "no such file"}},
		{&errors.CommandError{VM: "web", Args: []string{"sleep"}, ExitCode: -1, Signal: 9}, []*errors.Kind{errors.ErrCommandFailed}, []string{"signal 9"}},
		{&errors.ConfigError{VM: "web", Problems: []errors.Problem{
			{Field: "memory", Value: "3", Message: "is too little", Fix: "write 512M"},
			{Field: "disks[0].path", Message: "is missing", File: "a.yaml", Line: 3, Column: 7}}},
			[]*errors.Kind{errors.ErrConfigValidation, errors.ErrConfiguration},
			[]string{"2 problems", `memory "3": is too little (write 512M)`, "a.yaml:3:7: disks[0].path: is missing"}},
		{&errors.ConfigError{Kind: errors.ErrInvalidConfiguration}, []*errors.Kind{errors.ErrInvalidConfiguration}, nil},
		{&errors.Error{Kind: errors.ErrQEMUNotFound, Op: "start VM", VM: "web", Msg: "no qemu", Hint: "install it", Err: cause},
			[]*errors.Kind{errors.ErrQEMUNotFound, errors.ErrBackend}, []string{`start VM "web": no qemu: slow: context deadline exceeded (install it)`}},
	} {
		for _, k := range append(c.kinds, errors.ErrMaqet) {
			require.ErrorIs(t, c.err, k)
		}
		require.NotErrorIs(t, c.err, errors.ErrSnapshot)
		for _, part := range c.text {
			require.Contains(t, c.err.Error(), part)
		}
		var start *errors.StartError
		if errors.As(c.err, &start) {
			require.ErrorIs(t, c.err, context.DeadlineExceeded)
		}
	}
}

func TestProblemsByField(t *testing.T) {
	err := &errors.ConfigError{Problems: []errors.Problem{{Field: "disks[2].path"}, {Field: "cpu.count"}}}
	require.True(t, err.Has("disks"))
	require.True(t, err.Has("disks[2]"))
	require.True(t, err.Has("disks[2].path"))
	require.True(t, err.Has("cpu"))
	require.False(t, err.Has("disk"))
	require.False(t, err.Has("memory"))
}

func TestLongNamesAreShortened(t *testing.T) {
	err := &errors.Error{Kind: errors.ErrVMNotFound, Op: "find VM", VM: strings.Repeat("x", 500) + "\n"}
	require.Less(t, len(err.Error()), 150)
	require.NotContains(t, err.Error(), "\n")
}

func TestExitStatus(t *testing.T) {
	require.Equal(t, "unknown exit status", errors.ExitStatus{}.String())
	require.Equal(t, "exit status 0", errors.ExitStatus{Known: true}.String())
	require.Equal(t, "signal SIGKILL", errors.ExitStatus{Known: true, Signal: "SIGKILL"}.String())
}
