package inguest

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/maqettest"
)

// base boots once. Each test runs in a fork of it; without ForkOf each would boot a guest.
var base = maqettest.NewTemplate()

func TestMain(m *testing.M) { os.Exit(maqettest.Main(m)) }

func TestTune(t *testing.T) {
	maqettest.InGuest(t, maqettest.ForkOf(base)) // from here on this runs in the guest
	was := value(t, "net.ipv4.ip_default_ttl")
	undo, err := Tune(Setting{"kernel.pid_max", "12345"}, Setting{"net.ipv4.ip_default_ttl", "7"})
	require.NoError(t, err)
	require.Equal(t, "12345", value(t, "kernel.pid_max"))
	require.Equal(t, "7", value(t, "net.ipv4.ip_default_ttl"))
	require.NoError(t, undo())
	require.Equal(t, was, value(t, "net.ipv4.ip_default_ttl"))
}

func TestTuneAllOrNone(t *testing.T) {
	maqettest.InGuest(t, maqettest.ForkOf(base))
	was := value(t, "kernel.pid_max")
	for _, bad := range []Setting{{"kernel.pid_max", "none"}, {"kernel.no_such_thing", "1"}} {
		_, err := Tune(Setting{"kernel.pid_max", "12345"}, bad)
		require.ErrorContains(t, err, "set "+bad.Name)
		require.Equal(t, was, value(t, "kernel.pid_max"))
	}
}

func TestIsolated(t *testing.T) {
	t.Parallel() // with others that are in guests
	maqettest.InGuest(t, maqettest.ForkOf(base))
	outside, err := net.Listen("tcp4", "127.0.0.1:80") // root may
	require.NoError(t, err)
	defer outside.Close()
	var cards []net.Interface
	require.NoError(t, Isolated(func() error {
		inside, err := net.Listen("tcp4", "127.0.0.1:80") // the same, in another network
		if err != nil {
			return err
		}
		cards, err = net.Interfaces()
		return errors.Join(err, inside.Close())
	}))
	require.Len(t, cards, 1, "there is only the loopback")
}

// value reads a parameter of the kernel.
func value(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(Setting{Name: name}.path())
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}
