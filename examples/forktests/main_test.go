package main

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
)

// TestForksAreFaster runs the program with three of the tests: all that boot take minutes where the
// processor is emulated. How much faster forks are depends on the machine and its load.
func TestForksAreFaster(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	var out bytes.Buffer
	ratio, err := run(t.Context(), &out, "-test.run=^Test(ReadOnly|Damage|Killed)$")
	require.NoError(t, err)
	t.Log("\n" + out.String())
	require.Greater(t, ratio, 1.0)
}
