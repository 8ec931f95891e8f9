package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinkPorts: each port has a link as long as it is there.
func TestLinkPorts(t *testing.T) {
	dir := t.TempDir() + "/virtio-ports"
	linkPorts(dir, nil)
	require.NoDirExists(t, dir, "a guest without ports")
	links := func() map[string]string {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		found := map[string]string{}
		for _, e := range entries {
			found[e.Name()], err = os.Readlink(dir + "/" + e.Name())
			require.NoError(t, err)
		}
		return found
	}
	for _, ports := range []map[string]string{
		{"log": "/dev/vport1p1", "org.example.talk": "/dev/vport1p2"},
		{"log": "/dev/vport1p1", "org.example.talk": "/dev/vport1p3"}, // plugged again
		{"log": "/dev/vport1p1"},
		{},
	} {
		linkPorts(dir, ports)
		require.Equal(t, ports, links())
	}
	linkPorts(dir, map[string]string{"../../evil": "/dev/vport1p4"})
	require.Empty(t, links())
}
