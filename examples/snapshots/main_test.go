package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSnapshots runs the program.
func TestSnapshots(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	if err != nil && os.Getenv("MAQET_REQUIRE") != "1" {
		t.Skip("QEMU is needed: make setup installs it")
	}
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "mqs-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, maqet.WithDir(dir)), out.String())
	require.Equal(t, `changed twice: memory says "broken", disk says "broken"
back at the first: memory says "installed", disk says "installed"
over to the other: memory says "configured", disk says "configured"
└─ installed (memory)
   ├─ configured (memory) *
   └─ updated (memory)
├─ configured (memory) *
└─ updated (memory)
`, out.String())
}
