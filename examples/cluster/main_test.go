package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCluster runs the program.
func TestCluster(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	if err != nil && os.Getenv("MAQET_REQUIRE") != "1" {
		t.Skip("QEMU is needed: make setup installs it")
	}
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "mqc-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	var out bytes.Buffer
	err = run(t.Context(), func(format string, args ...any) { fmt.Fprintf(&out, format, args...) }, maqet.WithDir(dir))
	require.NoError(t, err, out.String())
	t.Log(out.String())
	_, shown, ok := strings.Cut(out.String(), "who reaches whom:\n")
	require.True(t, ok)
	const whole = "  one    reaches two. reaches three.\n  two    reaches one. reaches three.\n  three  reaches one. reaches two.\n"
	require.Equal(t, whole+
		"the cable of three is pulled:\n"+
		"  one    reaches two. does not reach three.\n  two    reaches one. does not reach three.\n  three  does not reach one. does not reach two.\n"+
		"the cable of three is plugged in again:\n"+whole, shown)
}
