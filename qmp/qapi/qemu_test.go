package qapi_test

import (
	"cmp"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/qmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startQEMU starts a QEMU, that of MAQET_TEST_QEMU if it is set, and returns a client of
// it. Its virtual CPUs don't run.
func startQEMU(t testing.TB, args ...string) *qmp.Client {
	t.Helper()
	binary, err := exec.LookPath(cmp.Or(os.Getenv("MAQET_TEST_QEMU"), "qemu-system-x86_64"))
	if err != nil {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			require.NoError(t, err)
		}
		t.Skip("qemu-system-x86_64 is missing: apt install qemu-system-x86")
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "client"), os.NewFile(uintptr(fds[1]), "monitor")
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	require.NoError(t, ours.Close())

	args = append([]string{
		"-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
	}, args...)
	cmd := exec.Command(binary, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	c := qmp.NewClient()
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.NoError(t, c.Connect(within(t, 30*time.Second), conn), "%s", &stderr)
	return c
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
