//go:build linux

package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

// inNetwork gives the test a network with hosts.
type inNetwork struct{ m *testing.M }

func (n inNetwork) Run() int { return libvirttest.InNetwork(n.m.Run) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(inNetwork{m}) }

// TestFleet runs the program on two hosts, both of which get something to do.
func TestFleet(t *testing.T) {
	hosts := libvirttest.StartHosts(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := run(ctx, &out, vm.Config{Memory: 128 * vm.MiB, Accel: "tcg"},
		[]string{hosts[0].RemoteURI(t, libvirttest.TLS), hosts[1].RemoteURI(t, libvirttest.TCP)}, maqet.WithDir(t.TempDir()))
	t.Log("\n" + out.String())
	require.NoError(t, err)
	require.Contains(t, out.String(), "4 tests on 2 hosts")
	require.Contains(t, out.String(), "host1 ")
	require.Contains(t, out.String(), "host2 ")
}
