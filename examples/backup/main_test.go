package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
)

// TestRun runs the program as its user would.
func TestRun(t *testing.T) {
	_, err := exec.LookPath("qemu-system-x86_64")
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", shortDir(t))
	require.NoError(t, run(t.Context()))
}

// shortDir returns a folder whose path leaves room for the names of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mq-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
