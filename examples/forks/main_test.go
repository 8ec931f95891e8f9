package main

import (
	"bytes"
	"log"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestForks runs the program.
func TestForks(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	dir, err := os.MkdirTemp("", "mqf-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), log.New(&out, "", 0), maqet.WithDir(dir)), out.String())
	require.Equal(t, `captured, standing still for TIME
fork 1 has: fixtures of fork 1
fork 2 has: fixtures of fork 2
fork 3 has: fixtures of fork 3
after the reset: fixtures
base can't be deleted: true
from the pool: fixtures a database
from the pool: fixtures a database
from the pool: fixtures a database
`, regexp.MustCompile(`\d+m?s`).ReplaceAllString(out.String(), "TIME"))
}
