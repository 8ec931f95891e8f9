package main

import (
	"context"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

func tmpFork(ctx context.Context, m *maqet.Maqet) (*maqet.Machine, error) {
	return m.Run(ctx, vm.Config{})
}
