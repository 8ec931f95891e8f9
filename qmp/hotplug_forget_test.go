package qmp

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// noVM is a Finder that finds nothing.
type noVM struct{ err error }

func (f noVM) QMP(context.Context, string) (Conn, error) { return nil, f.err }

// TestRemoveDeviceOfStoppedVM: only a recorder that knows the device makes it a success.
func TestRemoveDeviceOfStoppedVM(t *testing.T) {
	stopped := errors.Wrap(errors.ErrVMNotRunning, "reach VM", "web", errors.New("it is stopped"))
	full := errors.New("disk full")
	for name, c := range map[string]struct {
		found error
		opts  []ManagerOption
		want  []error
		text  string
	}{
		"known": {found: stopped, opts: []ManagerOption{WithRecorder(&recorder{known: "x"})}},
		"unknown": {found: stopped, opts: []ManagerOption{WithRecorder(&recorder{known: "y"})},
			want: []error{errors.ErrVMNotRunning}, text: "no such device"},
		"not recorded": {found: stopped, opts: []ManagerOption{WithRecorder(&recorder{known: "x", err: full})},
			want: []error{errors.ErrVMNotRunning, full}, text: "it is stopped"},
		"no recorder":   {found: stopped, want: []error{errors.ErrVMNotRunning}, text: "it is stopped"},
		"another error": {found: full, opts: []ManagerOption{WithRecorder(&recorder{known: "x"})}, want: []error{full}, text: "disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			err := NewManager(noVM{c.found}, c.opts...).RemoveDevice(t.Context(), "web", "x")
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			for _, want := range c.want {
				require.ErrorIs(t, err, want)
			}
			require.ErrorContains(t, err, c.text)
		})
	}
}
