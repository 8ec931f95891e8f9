package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, says string }{
		{"", "a command is needed: add, apply"},
		{"nonsense", `unknown command "nonsense"`},
		{"device", "a command is needed: add, del, ls"},
		{"device bogus", "unknown command bogus"},
		{"start", "requires at least 1 arg"},
		{"ls --colour", "unknown flag: --colour"},
		{"--timeout soon ls", `invalid argument "soon"`},
		{"--timeout -5s ls", "is negative"},
		{"ls --state going", `there is no state "going"`},
		{"stop", "give the VMs, or --all"},
		{"rm --all web", "either --all or VMs"},
		{"cp a b", "is VM:PATH"},
		{"cp web:a web:b", "only one of"},
		{"cp a", "accepts 2 arg(s)"},
		{"device add web x", "at least one of the flags in the group"},
		{"device add web x --rng --nic", "were all set"},
		{"wait web --console (", "missing closing )"},
		{"console web --until (", "missing closing )"},
		{"console web --json", "a console has no JSON"},
		{"logs web --qemu --follow", "--follow is of the console"},
		{"storage create x.qcow2 much", "much"},
		{"storage info /etc/passwd", "give --format"},
		{"snapshot", "a command is needed: blockers, commit"},
		{"snapshot create web", "accepts 2 arg(s)"},
		{"snapshot rm web", "requires at least 2 arg"},
		{"snapshot load web x --cold --paused", "were all set"},
		{"snapshot blockers web --cold", "--cold for loading NAME"},
		{"backup create web", "accepts 2 arg(s)"},
		{"backup restore x", "accepts 2 arg(s)"},
		{"qmp web", "requires at least 2 arg"},
		{"type web", "accepts 2 arg(s)"},
		{"screenshot web", "accepts 2 arg(s)"},
	} {
		got := ctl(t, dir, strings.Fields(c.args)...)
		require.Contains(t, got.failed(t, exitUsage), c.says, c.args)
		require.Empty(t, got.out, c.args)
	}
	// Of commands that hand on a guest's code, so that it can't be taken for one.
	for _, args := range []string{"exec", "exec web", "exec web --", "run --colour", "exec web --timeout 3s -- true"} {
		require.Contains(t, ctl(t, dir, strings.Fields(args)...).failed(t, exitToolFailed), "maqetctl:", args)
	}
}

// TestUsageShowsTheCommand: how many arguments there have to be says little without their names.
func TestUsageShowsTheCommand(t *testing.T) {
	dir := t.TempDir()
	require.Contains(t, ctl(t, dir, "start").failed(t, exitUsage), "\nUsage: maqetctl start VM... [flags]\nSee 'maqetctl start --help'.")
	require.NotContains(t, ctl(t, dir, "nonsense").failed(t, exitUsage), "Usage:")
	require.Contains(t, ctl(t, dir, "exec", "web", "--timeout", "3s", "true").failed(t, exitToolFailed), "flags of maqetctl go in front of the name")
}

func TestErrorsAsJSON(t *testing.T) {
	dir := t.TempDir()
	f := failureOf(t, ctl(t, dir, "--json", "start", "web").failed(t, exitNotFound))
	require.Equal(t, failure{Kind: "VMNotFound", ExitCode: 3, VM: "web", Message: f.Message}, f)
	require.Contains(t, f.Message, "VM not found")
	require.Equal(t, "Usage", failureOf(t, ctl(t, dir, "ls", "--colour", "--json").failed(t, exitUsage)).Kind)
	require.Equal(t, "VMNotFound", failureOf(t, ctl(t, dir, "--json", "exec", "web", "ls").failed(t, exitToolFailed)).Kind)
	// What comes after the VM's name is not maqetctl's.
	require.Contains(t, ctl(t, dir, "exec", "web", "ls", "--json").failed(t, exitToolFailed), "maqetctl: ")
}

func TestNotFound(t *testing.T) {
	dir := t.TempDir()
	for _, args := range []string{"start web", "stop web", "rm web", "ls web", "status web", "info web", "inspect web",
		"wait web", "logs web", "logs -f web", "argv web", "pause web", "resume web", "keys web a", "type web a",
		"screenshot web x.png", "device add web x --rng", "device del web x", "device ls web", "link up web net0",
		"snapshot ls web", "snapshot create web x", "snapshot load web x -y", "snapshot rm web x", "snapshot commit web x",
		"snapshot stream web x", "snapshot drop web x -y", "snapshot blockers web", "snapshot blockers web x", "backup create web x",
		"qmp web query-status", "console web", "events web", "cp web:/x -"} {
		require.Contains(t, ctl(t, dir, strings.Fields(args)...).failed(t, exitNotFound), "VM not found", args)
	}
	for _, args := range []string{"--json rm web", "--json stop web"} { // nothing that looks like a success
		require.Empty(t, ctl(t, dir, strings.Fields(args)...).out, args)
	}
	require.Contains(t, ctl(t, dir, "storage", "info", "x.qcow2").failed(t, exitNotFound), "x.qcow2")
	for _, args := range []string{"exec web true", "ssh web true"} {
		require.Contains(t, ctl(t, dir, strings.Fields(args)...).failed(t, exitToolFailed), "VM not found", args)
	}
}

func TestHelp(t *testing.T) {
	dir := t.TempDir()
	help := ctl(t, dir, "--help").ok(t)
	require.Contains(t, help, exitHelp())
	require.Contains(t, help, envHelp)
	require.Contains(t, ctl(t, dir, "exec", "--help").ok(t), execHelp)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		require.Contains(t, ctl(t, dir, "completion", shell).ok(t), "maqetctl", shell)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr bytes.Buffer
	require.Equal(t, exitInterrupted, run(ctx, []string{"--dir", t.TempDir(), "ls"}, strings.NewReader(""), &stderr, &stderr))
	require.Equal(t, "maqetctl: interrupted\n", stderr.String())
}

func TestTimeout(t *testing.T) {
	dir := t.TempDir()
	ctl(t, dir, "add", "--name", "web").ok(t)
	got := ctl(t, dir, "wait", "web", "--state", "running", "--timeout", "50ms")
	require.Contains(t, got.failed(t, exitTimeout), "web")
	require.Empty(t, ctl(t, dir, "watch", "--timeout", "50ms").ok(t)) // as long as it may, and no longer
}
