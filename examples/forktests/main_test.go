package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
)

// TestForksAreFaster runs the program. How much faster depends on the machine and its load.
func TestForksAreFaster(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	var out bytes.Buffer
	ratio, err := run(t.Context(), &out)
	require.NoError(t, err)
	t.Log("\n" + out.String())
	require.Greater(t, ratio, 1.0)
}
