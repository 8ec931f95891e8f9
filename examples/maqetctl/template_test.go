package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
)

// TestTemplate captures a VM, and works in copies of it, each by a process of its own.
func TestTemplate(t *testing.T) {
	c := newTool(t)
	file := write(t, t.TempDir()+"/web.yaml", "name: web\ntemplate: true\n")
	c.run("add", file).ok(t)
	c.run("start", "web").ok(t)
	c.run("exec", "web", "--", "sh", "-c", "echo prepared > /tmp/memory").ok(t)
	made := parsed[snapshot.Template](t, c.run("template", "capture", "web", "ready", "--json").ok(t))
	require.True(t, made.Shared)
	c.run("template", "capture", "web", "other").failed(t, exitState)
	require.Contains(t, c.run("template", "ls").ok(t), "ready")

	require.Equal(t, "prepared\n", c.run("fork", "ready", "--", "cat", "/tmp/memory").ok(t))
	c.run("fork", "ready", "-n", "stays").ok(t)
	require.Equal(t, "prepared\n", c.run("exec", "stays", "cat", "/tmp/memory").ok(t))
	require.Contains(t, c.run("template", "rm", "ready", "-y").err, "VM stays")
	c.run("rm", "stays", "--force", "--yes", "--images").ok(t)
	c.run("template", "rm", "ready", "--yes").ok(t)
	c.run("template", "rm", "ready", "--yes").failed(t, exitNotFound)
	require.Empty(t, parsed[[]snapshot.Template](t, c.run("template", "ls", "--json").ok(t)))
}
