package maqet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestPool takes a fork from a pool, and leaves it to Close to end the pool.
func TestPool(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	g, err := m.Run(ctx, vm.Config{Name: "base", Template: true})
	require.NoError(t, err)
	require.NoError(t, g.WriteFile(ctx, "/tmp/note", []byte("in the template"), 0o644))
	_, err = g.Capture(ctx, "one")
	require.NoError(t, err)

	p, err := m.NewPool(ctx, "one", snapshot.PoolOptions{Size: 1})
	require.NoError(t, err)
	fork, err := p.Get(ctx)
	require.NoError(t, err)
	note, err := fork.ReadFile(ctx, "/tmp/note")
	require.NoError(t, err)
	require.Equal(t, "in the template", string(note))
	require.Equal(t, 1, p.Status().HandedOut)
	other, err := m.NewPool(ctx, "one", snapshot.PoolOptions{Size: 1})
	require.NoError(t, err)
	require.NoError(t, other.Close())

	require.NoError(t, m.Close())
	_, err = p.Get(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = m.NewPool(ctx, "one", snapshot.PoolOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, processesOf(t, dir))
}
