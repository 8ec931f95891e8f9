package main

import (
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/stretchr/testify/require"
)

// inNamespace is set in the process that has a network of its own.
const inNamespace = "MAQET_TEST_NAMESPACE"

// TestWhileDownKeepsRoutes works on the loopback interface of a network namespace.
func TestWhileDownKeepsRoutes(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		checkWhileDown(t)
		return
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	p, err := testReaper.start(os.Args[0], []string{os.Args[0], "-test.run=^" + t.Name() + "$"}, &syscall.ProcAttr{
		Env:   append(os.Environ(), inNamespace+"=1"),
		Files: []uintptr{0, w.Fd(), w.Fd()},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		},
	})
	require.NoError(t, w.Close())
	testhost.Needs(t, "a network namespace", err)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	<-p.done
	require.Zero(t, p.status.ExitStatus(), "%s", text)
	require.Contains(t, string(text), "PASS")
}

func checkWhileDown(t *testing.T) {
	require.NoError(t, setUp("lo", cardPlan{address: netip.MustParsePrefix("10.9.0.1/16")}))
	require.NoError(t, withSocket(func(fd int) error {
		static := route{destination: [4]byte{10, 8}, mask: [4]byte{255, 255}, flags: syscall.RTF_UP, metric: 7}
		require.NoError(t, addRoutes(fd, "lo", []route{static}))
		require.NoError(t, addRoutes(fd, "lo", []route{static}), "it is there already")
		require.Equal(t, []route{static}, routesOf("lo"))
		require.NoError(t, whileDown(fd, "lo", func() error {
			require.Empty(t, routesOf("lo"), "the interface is down")
			return nil
		}))
		require.Equal(t, []route{static}, routesOf("lo"))
		require.ErrorIs(t, whileDown(fd, "lo", func() error { return syscall.EPERM }), syscall.EPERM)
		require.Equal(t, []route{static}, routesOf("lo"), "it is up again all the same")
		return nil
	}))
}
