package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/libvirttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun runs the program on a libvirtd of its own.
func TestRun(t *testing.T) {
	daemon := libvirttest.Start(t)
	dir, err := os.MkdirTemp("", "mql-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	require.NoError(t, run(t.Context(), daemon.URI(), maqet.WithDir(dir)))
	domains, _, err := daemon.Connect(t).ConnectListAllDomains(1, 0)
	require.NoError(t, err)
	require.Empty(t, domains)
}
