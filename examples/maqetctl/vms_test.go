package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

func TestAddAndList(t *testing.T) {
	dir := t.TempDir()
	require.Contains(t, ctl(t, dir, "ls").ok(t), "there are no VMs")
	require.Equal(t, "[]\n", ctl(t, dir, "ls", "--json").ok(t))

	require.Equal(t, "web: added\n", ctl(t, dir, "add", "-n", "web", "-m", "512M", "-c", "2", "-p", "18081:80", "-l", "tier=front").ok(t))
	added := parsed[deed](t, ctl(t, dir, "add", "-n", "db", "--disk", "1G", "--json").ok(t))
	require.Equal(t, deed{"db", added.ID, "added"}, added)
	require.Contains(t, ctl(t, dir, "add", "-n", "web").failed(t, exitExists), "web")

	list := parsed[[]vmShown](t, ctl(t, dir, "ls", "--json").ok(t))
	require.Len(t, list, 2)
	require.Equal(t, added.ID, list[0].ID)
	web := list[1]
	require.WithinDuration(t, time.Now(), web.Created, time.Minute)
	require.Equal(t, vmShown{
		Name: "web", ID: web.ID, State: vm.Created, Reason: "added", Lifetime: vm.Persistent, Memory: 512 << 20, CPUs: 2,
		Labels: map[string]string{"tier": "front"}, Created: web.Created, Changed: web.Changed,
	}, web)

	require.Equal(t, ""+
		"NAME  STATE    MEMORY  CPUS  PID  SINCE  REASON  LABELS\n"+
		"db    created  256M    1     -    0s     added   \n"+
		"web   created  512M    2     -    0s     added   tier=front\n", seconds(ctl(t, dir, "ls").ok(t)))
	require.Equal(t, "web\n", ctl(t, dir, "ls", "-q", "-l", "tier=front").ok(t))
	require.Equal(t, "db\nweb\n", ctl(t, dir, "ls", "-q", "-s", "created").ok(t))
	require.Empty(t, ctl(t, dir, "ls", "-q", "-s", "running").ok(t))
	require.Equal(t, "web\n", ctl(t, dir, "ls", "-q", web.ID).ok(t))

	require.Contains(t, ctl(t, dir, "status", "web").ok(t), "web   created  -     -      -")
	require.Contains(t, ctl(t, dir, "info", "web").ok(t), "memory    512M\n")
	insts := parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web", "db").ok(t))
	require.Equal(t, []vm.Forward{{Port: 18081, Guest: 80}}, insts[0].Config.Networks[0].Forwards)
	require.Equal(t, vm.GiB, insts[1].Config.Disks[0].Size)
	require.Contains(t, ctl(t, dir, "device", "ls", "db").ok(t), "disk0  disk")
	require.Contains(t, ctl(t, dir, "argv", "web").failed(t, exitState), "never started")
	require.Contains(t, ctl(t, dir, "logs", "web").failed(t, exitState), "never started")
	require.Contains(t, ctl(t, dir, "pause", "web").failed(t, exitState), "created")
}

// seconds makes each time of a table one of 0 s.
func seconds(text string) string {
	for s := range 60 {
		text = strings.ReplaceAll(text, fmt.Sprintf(" %-6s ", fmt.Sprint(s)+"s"), " 0s     ")
	}
	return text
}

func TestConfigFiles(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "web.json"), `{"name": "web", "memory": "1G", "cpu": {"count": 2}}`)
	require.Equal(t, "web: applied\n", ctl(t, dir, "apply", file).ok(t))
	before := parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web").ok(t))[0]
	require.Equal(t, vm.GiB, before.Config.Memory)
	ctl(t, dir, "apply", file).ok(t)
	require.Equal(t, before, parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web").ok(t))[0]) // nothing changed
	ctl(t, dir, "apply", file, "-m", "2G").ok(t)                                               // flags win
	require.Equal(t, 2*vm.GiB, parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web").ok(t))[0].Config.Memory)

	require.Contains(t, ctl(t, dir, "apply", filepath.Join(dir, "none.json")).failed(t, exitNotFound), "none.json")
	require.Contains(t, ctl(t, dir, "add", write(t, filepath.Join(dir, "bad.json"), `{"memry": "1G"}`)).failed(t, exitConfig), "memry")
	require.Contains(t, ctl(t, dir, "apply", "-m", "1G").failed(t, exitConfig), "name")
	got := ctl(t, dir, "add", "--json", "-n", "x", "-m", "much", "-p", "80")
	problems := failureOf(t, got.failed(t, exitConfig)).Problems
	require.Len(t, problems, 2)
	require.Equal(t, "--memory", problems[0].Field)
	require.Equal(t, "--forward", problems[1].Field)
	short := write(t, filepath.Join(dir, "short.json"), `{"name": "short", "lifetime": "ephemeral"}`)
	require.Contains(t, ctl(t, dir, "add", short).failed(t, exitConfig), "maqetctl run")
}

// TestPathsOfFlags keeps meaning the same file wherever the VM is started.
func TestPathsOfFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	ctl(t, dir, "add", "-n", "web", "--disk", "a.qcow2", "--base", "b.qcow2", "--disk", "2G", "--kernel", "auto").ok(t)
	cfg := parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web").ok(t))[0].Config
	require.Equal(t, []vm.Disk{{Path: filepath.Join(dir, "a.qcow2")}, {Size: 2 * vm.GiB}, {Base: filepath.Join(dir, "b.qcow2")}}, cfg.Disks)
	require.Equal(t, "auto", cfg.Boot.Kernel)
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		ctl(t, dir, "add", "-n", name).ok(t)
	}
	// Nobody can be asked, and silence is no yes.
	require.Contains(t, ctl(t, dir, "rm", "a").failed(t, exitDenied), "--yes")
	require.Contains(t, ctlWith(t, dir, "y\n", "rm", "a").failed(t, exitDenied), "--yes")
	require.Equal(t, "Denied", failureOf(t, ctl(t, dir, "rm", "a", "--json").failed(t, exitDenied)).Kind)
	require.Equal(t, "a\nb\nc\n", ctl(t, dir, "ls", "-q").ok(t))
	// One that is not there: none is removed.
	ctl(t, dir, "rm", "--yes", "a", "x").failed(t, exitNotFound)
	require.Equal(t, "a\nb\nc\n", ctl(t, dir, "ls", "-q").ok(t))

	rows := parsed[[]stopped](t, ctl(t, dir, "rm", "--yes", "--json", "a", "a").ok(t))
	require.Len(t, rows, 1)
	require.Equal(t, "removed", rows[0].Action)
	require.Contains(t, ctl(t, dir, "rm", "--all", "-y").ok(t), "b     removed")
	require.Empty(t, ctl(t, dir, "ls", "-q").ok(t))
	require.Empty(t, ctl(t, dir, "rm", "--all", "-y").ok(t))
	require.Equal(t, "[]\n", ctl(t, dir, "stop", "--all", "--json").ok(t))
}

func TestStopWhatDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	ctl(t, dir, "add", "-n", "web").ok(t)
	require.Equal(t, "none", parsed[[]stopped](t, ctl(t, dir, "stop", "web", "--json").ok(t))[0].By)
	require.Equal(t, "created", string(parsed[vmShown](t, ctl(t, dir, "wait", "web", "--json").ok(t)).State))
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		wg.Go(func() { codes[i] = ctl(t, dir, "add", "-n", fmt.Sprintf("vm%d", i/2)).code })
	}
	wg.Wait()
	for i := 0; i < len(codes); i += 2 { // two want each name, one gets it
		require.ElementsMatch(t, []int{exitOK, exitExists}, codes[i:i+2])
	}
	require.Len(t, parsed[[]vmShown](t, ctl(t, dir, "ls", "--json").ok(t)), 4)
}

func TestCleanup(t *testing.T) {
	dir := t.TempDir()
	ctl(t, dir, "add", "-n", "web").ok(t)
	require.Equal(t, "nothing was left\n", ctl(t, dir, "cleanup").ok(t))
	require.Equal(t, "[]\n", ctl(t, dir, "cleanup", "--json", "--dry-run").ok(t))
	require.Equal(t, "web\n", ctl(t, dir, "ls", "-q").ok(t))
}

func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	ctl(t, dir, "add", "-n", "web").ok(t)
	ctl(t, dir, "add", "-n", "worker", "--disk", "1G", "-p", "18082:80").ok(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"start", ""}, "web\tcreated\nworker\tcreated\n"},
		{[]string{"start", "web", "w"}, "worker\tcreated\n"},
		{[]string{"exec", "we"}, "web\tcreated\n"},
		{[]string{"device", "del", "worker", ""}, "disk0\nnet0\n"},
		{[]string{"link", "up", "worker", ""}, "net0\n"},
		{[]string{"cp", "wo"}, "worker:\n"},
		{[]string{"keys", "web", "ctrl-alt-f1"}, "ctrl-alt-f1\nctrl-alt-f10\nctrl-alt-f11\nctrl-alt-f12\n"},
		{[]string{"ls", "--state", "pau"}, "paused\n"},
		{[]string{"type", "--layout", "g"}, "gb\n"},
	} {
		out := ctl(t, dir, append([]string{"__complete"}, c.args...)...).ok(t)
		got, _, _ := strings.Cut(out, ":")
		if c.args[0] == "cp" {
			got, _, _ = strings.Cut(out, "\n")
			got += "\n"
		}
		require.Equal(t, c.want, got, "%q", c.args)
	}
}
