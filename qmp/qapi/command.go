package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// run executes a command whose answer says nothing.
func run(ctx context.Context, e qmp.Executor, command string, args any) error {
	_, err := e.Execute(ctx, command, args)
	return err
}

// The arguments of the many commands that have one.
type (
	idArgs struct {
		ID string `json:"id"`
	}
	deviceArgs struct {
		Device string `json:"device"`
	}
	nodeArgs struct {
		NodeName string `json:"node-name"`
	}
)
