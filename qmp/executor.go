package qmp

import (
	"context"
	"encoding/json"
	"os"

	"github.com/maqet/maqet/errors"
)

// Executor executes commands on one QEMU. Every [Conn] is one, and what [Manager.On]
// returns; package qmp/qapi has typed functions on it.
type Executor interface {
	// Execute sends a command and returns the answer's "return" member; see
	// [Conn].Execute and [Manager.Execute].
	Execute(ctx context.Context, command string, args any) (json.RawMessage, error)
}

// On returns the VM called ref as an executor under the manager's policy. It holds
// nothing: the VM is looked up at each command.
func (m *Manager) On(ref string) FileExecutor { return onManager{m, ref} }

type onManager struct {
	m   *Manager
	ref string
}

func (o onManager) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	return o.m.Execute(ctx, o.ref, command, args)
}

func (o onManager) ExecuteWithFiles(ctx context.Context, command string, args any, files ...*os.File) (json.RawMessage, error) {
	return o.m.ExecuteWithFiles(ctx, o.ref, command, args, files...)
}

// Do executes a command and unmarshals the answer into a T. An answer that is no T is
// errors.ErrQMP.
func Do[T any](ctx context.Context, e Executor, command string, args any) (T, error) {
	var v T
	out, err := e.Execute(ctx, command, args)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return v, errors.Wrap(errors.ErrQMP, "QMP "+command+": decode the answer", "", err)
	}
	return v, nil
}
