package maqet_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
)

// fullKernel is a kernel with drivers for every bus; Debian's cloud kernel has few.
func fullKernel(t *testing.T) string {
	t.Helper()
	cache, err := kernel.DefaultCacheDir()
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(cache, "kernels-full", "x86_64", "*", "boot", "vmlinuz-*"))
	require.NoError(t, err)
	if len(found) == 0 {
		testhost.Lacks(t, "no kernel with all drivers: scripts/setup.sh --test gets one")
	}
	return found[len(found)-1]
}

// sh runs a shell command in the guest, and returns what it printed and whether it succeeded.
func sh(t *testing.T, g *maqet.Machine, script string) (string, bool) {
	t.Helper()
	res, err := g.Exec(t.Context(), "sh", "-c", script)
	if res.ExitCode == 0 {
		require.NoError(t, err)
	}
	return string(res.Stdout) + string(res.Stderr), res.ExitCode == 0
}

// shell runs a script that has to succeed, and returns what it wrote, trimmed.
func shell(t *testing.T, g *maqet.Machine, script string) string {
	t.Helper()
	res, err := g.Exec(t.Context(), "sh", "-c", script)
	require.NoError(t, err, "%s: %s", script, res.Stderr)
	return strings.TrimSpace(string(res.Stdout))
}
