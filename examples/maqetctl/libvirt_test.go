package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/libvirttest"
)

func TestLibvirtHosts(t *testing.T) {
	c := newTool(t)
	bad := c.run("--libvirt", "qemu+shh://far/system", "ls")
	require.Equal(t, exitConfig, bad.code, bad.err)
	require.Contains(t, bad.err, "qemu+shh://far/system")

	unknown := c.run("--libvirt", "test:///default?socket=/none", "--libvirt", "far=test:///default?socket=/none", "add", "--backend", "elsewhere")
	require.Equal(t, exitConfig, unknown.code, unknown.err)
	require.Contains(t, unknown.err, "[far libvirt process any]")

	t.Setenv(envLibvirt, "process=test:///default")
	require.Contains(t, c.run("ls").err, `"process"`)
}

// TestLibvirtGuest has a guest on libvirt, which each command finds again.
func TestLibvirtGuest(t *testing.T) {
	c := newTool(t)
	t.Setenv(envLibvirt, "here="+libvirttest.Start(t).URI())
	for _, args := range [][]string{
		{"add", "--name", "web", "--backend", "any"},
		{"start", "web"},
	} {
		done := c.run(args...)
		require.Equal(t, exitOK, done.code, done.err)
	}
	uname := c.run("exec", "web", "uname")
	require.Equal(t, exitOK, uname.code, uname.err)
	require.Equal(t, "Linux\n", uname.out)
	inspected := c.run("inspect", "web")
	require.Contains(t, inspected.out, `"host": "here"`)
	for _, args := range [][]string{{"stop", "web"}, {"rm", "web", "--yes"}} {
		done := c.run(args...)
		require.Equal(t, exitOK, done.code, done.err)
	}
}
