package main

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// screenConfig is a guest whose shell is on its screen, so that keys have an effect, with
// a network card.
const screenConfig = `{"name": "web", "devices": [{"driver": "VGA"}], "networks": [{}], "boot": {"cmdline": "console=tty0 console=ttyS0"}}`

// TestGuest drives one guest through its life, each step by a process of its own.
func TestGuest(t *testing.T) {
	c := newTool(t)
	file := write(t, filepath.Join(t.TempDir(), "web.json"), screenConfig)
	require.Equal(t, "added", parsed[deed](t, c.run("add", file, "--json").ok(t)).Action)
	c.run("add", file).failed(t, exitExists)
	require.Equal(t, "applied", parsed[deed](t, c.run("apply", file, "--json").ok(t)).Action)

	watch := c.begin(nil, "watch", "web", "--json")
	t.Run("start", c.start)
	for _, part := range []struct {
		name string
		test func(*testing.T)
	}{
		{"look", c.look}, {"exec", c.exec}, {"copy", c.copy}, {"console", c.console}, {"terminal", c.terminal}, {"qmp", c.qmp},
		{"keyboard and screen", c.keyboard}, {"pause", c.pause}, {"devices", c.devices}, {"refused", c.refused}, {"at once", c.atOnce},
	} {
		if !t.Run(part.name, part.test) {
			break
		}
	}
	t.Run("stop", c.stop)
	watch.said(`"to":"stopped"`)
	watch.interrupt()
	changes := watch.wait()
	require.Equal(t, exitInterrupted, changes.code)
	require.Equal(t, "web", parsed[change](t, changes.out).Name)
	c.requireNothingLeft()
}

// start starts the VM twice at once: one does.
func (c tool) start(t *testing.T) {
	one, other := c.begin(nil, "start", "web", "--json"), c.begin(nil, "start", "web", "--json")
	won, lost := one.wait(), other.wait()
	if won.code != exitOK {
		won, lost = lost, won
	}
	got := parsed[[]started](t, won.ok(t))
	require.Len(t, got, 1)
	require.Equal(t, vm.Running, got[0].State)
	require.NotZero(t, got[0].PID)
	require.Equal(t, vm.StepReady, got[0].Steps[len(got[0].Steps)-1].Name)
	require.Equal(t, "VMAlreadyRunning", failureOf(t, lost.failed(t, exitState)).Kind)
}

func (c tool) look(t *testing.T) {
	status := parsed[[]vmStatus](t, c.run("status", "web", "--json").ok(t))[0]
	require.Equal(t, vm.Running, status.State)
	require.Equal(t, "running", status.QEMU)
	require.Equal(t, "answers", status.Agent)
	require.Regexp(t, `web +running +running +answers +[0-9]+`, c.run("status", "web").ok(t))
	info := parsed[vmInfo](t, c.run("info", "web", "--json").ok(t))
	require.Contains(t, info.Guest.Kernel, ".")
	require.Contains(t, fmt.Sprint(info.Guest.Interfaces), "10.0.2.15/24")
	require.Contains(t, c.run("info", "web").ok(t), "address   eth0 10.0.2.15/24")
	require.Equal(t, status.PID, parsed[[]vm.Instance](t, c.run("inspect", "web").ok(t))[0].Runtime.Process.PID)
	require.Contains(t, c.run("logs", "web").ok(t), "maqet-init: ready")
	require.NotEmpty(t, parsed[logShown](t, c.run("logs", "web", "--json", "-n", "2").ok(t)).Text)
	c.run("logs", "web", "--qemu").ok(t)
	require.Contains(t, c.run("argv", "web").ok(t), " -name guest=web ")
	require.Contains(t, parsed[argvShown](t, c.run("argv", "web", "--json").ok(t)).Args, "guest=web")
	require.Equal(t, vm.Running, parsed[vmShown](t, c.run("wait", "web", "--agent", "--state", "running,paused", "--json").ok(t)).State)
	for _, check := range parsed[[]check](t, c.run("doctor", "--json").ok(t)) {
		require.NotEqual(t, verdictFailed, check.Verdict, "%v", check)
	}
}

func (c tool) exec(t *testing.T) {
	got := c.run("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	require.Equal(t, invoked{7, "out\n", "err\n"}, got)
	got = c.run("exec", "--json", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 125")
	require.Equal(t, 125, got.code)
	require.Empty(t, got.err)
	require.Equal(t, execShown{ExitCode: 125, Stdout: "out\n", Stderr: "err\n"}, parsed[execShown](t, got.out))
	require.Equal(t, "typed\n", c.runWith("typed\n", "exec", "-i", "web", "cat").ok(t))
	require.Empty(t, c.runWith("typed\n", "exec", "web", "cat").ok(t)) // what is not asked for is left to others
	require.Equal(t, "/tmp 1 -n\n", c.run("exec", "-w", "/tmp", "-e", "A=1", "web", "sh", "-c", `echo $PWD $A $0`, "-n").ok(t))
	require.Equal(t, 128+15, c.run("exec", "web", "sh", "-c", "kill -TERM $$").code)
	c.run("exec", "web", "no-such-program").failed(t, exitNoProgram)
	c.run("exec", "web", "/etc").failed(t, exitCantRun)
	sleeper := c.begin(nil, "exec", "web", "sh", "-c", "echo begun; exec sleep 1000")
	sleeper.said("begun")
	sleeper.interrupt()
	require.Equal(t, exitInterrupted, sleeper.wait().code)
}

func (c tool) copy(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("0123456789", 50_000)
	write(t, filepath.Join(dir, "tree", "deep", "a"), content)
	write(t, filepath.Join(dir, "tree", "b:c"), "colon")
	got := parsed[copied](t, c.run("cp", "--json", filepath.Join(dir, "tree"), "web:/tmp").ok(t))
	require.GreaterOrEqual(t, got.Bytes, int64(len(content)))
	require.Empty(t, c.run("cp", "web:/tmp/tree", filepath.Join(dir, "back")).ok(t))
	back, err := os.ReadFile(filepath.Join(dir, "back", "deep", "a"))
	require.NoError(t, err)
	require.Equal(t, content, string(back))
	require.Equal(t, "colon", c.run("cp", "web:/tmp/tree/b:c", "-").ok(t))
	c.runWith("from stdin", "cp", "-", "web:/tmp/in").ok(t)
	require.Equal(t, "from stdin", c.run("exec", "web", "cat", "/tmp/in").ok(t))
	require.Contains(t, c.run("cp", "web:/proc/version", "-").ok(t), "Linux")
	c.run("cp", "web:/none", dir).failed(t, exitNotFound)
	c.run("cp", filepath.Join(dir, "none"), "web:/tmp").failed(t, exitNotFound)
}

// console works without a terminal, as in a script.
func (c tool) console(t *testing.T) {
	got := c.runWith("\necho con$((40+2))sole\n", "console", "web", "--until", "con42sole", "--timeout", toolTime.String())
	require.Contains(t, got.ok(t), "con42sole")
	follower := c.begin(nil, "logs", "-f", "web")
	follower.said("con42sole")
	follower.interrupt()
	require.Equal(t, exitInterrupted, follower.wait().code)
}

func (c tool) qmp(t *testing.T) {
	require.Contains(t, c.run("qmp", "web", "query-status").ok(t), `"status": "running"`)
	require.Contains(t, c.run("qmp", "web", "qom-get", `{"path": "/machine", "property": "type"}`).ok(t), "-machine\"")
	require.Contains(t, c.runWith(`{"path": "/machine", "property": "type"}`, "qmp", "web", "qom-get", "-").ok(t), "-machine\"")
	require.Contains(t, c.run("qmp", "web", "quit").failed(t, exitDenied), "--allow")
	require.Contains(t, c.run("qmp", "web", "--hmp", "info version").failed(t, exitDenied), "--allow")
	require.Contains(t, c.run("qmp", "web", "--hmp", "--allow", "info version").ok(t), ".")
	require.Contains(t, c.run("qmp", "web", "nonsense").failed(t, exitFailure), "CommandNotFound")

	carrier := []string{"exec", "web", "cat", "/sys/class/net/eth0/carrier"}
	c.run("qmp", "web", "set_link", "name=net0", "up=false").ok(t)
	require.Equal(t, "0\n", c.run(carrier...).ok(t))
	c.run("link", "up", "web", "net0").ok(t)
	require.Equal(t, "1\n", c.run(carrier...).ok(t))
	c.run("link", "down", "web", "net9").failed(t, exitNotFound)
}

func (c tool) keyboard(t *testing.T) {
	c.run("keys", "web", "ret").ok(t)
	c.run("type", "web", "--enter", "echo typed > /tmp/typed").ok(t)
	c.run("wait", "web", "--file", "/tmp/typed", "--timeout", toolTime.String()).ok(t)
	require.Contains(t, c.run("keys", "web", "no-such-key").failed(t, exitConfig), "no-such-key")

	file := filepath.Join(t.TempDir(), "screen.png")
	shot := parsed[picture](t, c.run("screenshot", "web", file, "--json").ok(t))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, data, shot.Bytes)
	_, err = png.Decode(bytes.NewReader(data))
	require.NoError(t, err)
	require.Contains(t, c.run("screenshot", "web", file).failed(t, exitExists), "--force")
	c.run("screenshot", "web", file, "--force").ok(t)
	_, err = png.Decode(strings.NewReader(c.run("screenshot", "web", "-").ok(t)))
	require.NoError(t, err)
}

func (c tool) pause(t *testing.T) {
	events := c.begin(nil, "events", "web", "STOP", "RESUME", "--json")
	// It says nothing until there is an event: so ask until it is there to see one.
	for deed := "pause"; !strings.Contains(events.out.String(), "RESUME"); {
		c.run(deed, "web").ok(t)
		status := parsed[[]vmStatus](t, c.run("status", "web", "--json").ok(t))[0]
		require.Equal(t, map[string]vm.State{"pause": vm.Paused, "resume": vm.Running}[deed], status.State)
		deed = map[string]string{"pause": "resume", "resume": "pause"}[deed]
	}
	c.run("resume", "web").ok(t)
	events.interrupt()
	require.Equal(t, exitInterrupted, events.wait().code)
	require.Contains(t, []string{"STOP", "RESUME"}, parsed[event](t, events.out.String()).Event)
}

func (c tool) devices(t *testing.T) {
	image := filepath.Join(t.TempDir(), "data.raw")
	require.NoError(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	c.run("device", "add", "web", "data", "--disk", image, "--serial", "DATA").ok(t)
	c.run("wait", "web", "--succeeds", "grep -q DATA /sys/block/vda/serial", "--timeout", toolTime.String()).ok(t)
	c.run("device", "add", "web", "noise", "--driver", "virtio-rng-pci", "--prop", "max-bytes=1024", "--prop", "period=1000").ok(t)
	list := parsed[[]deviceShown](t, c.run("device", "ls", "web", "--json").ok(t))
	require.Contains(t, list, deviceShown{"data", "disk", "plugged", "hotplug0"})
	require.Contains(t, list, deviceShown{"noise", "virtio-rng-pci", "plugged", "hotplug1"})
	require.Equal(t, "1024\n", c.run("qmp", "web", "qom-get", "path=/machine/peripheral/noise", "property=max-bytes").ok(t))
	c.run("device", "del", "web", "noise").ok(t)
	c.run("device", "del", "web", "data").ok(t)
	c.run("device", "del", "web", "data").failed(t, exitNotFound)
	c.run("exec", "web", "test", "!", "-e", "/sys/block/vda").ok(t)
}

// refused is what the state does not allow, or nobody was asked about.
func (c tool) refused(t *testing.T) {
	c.run("start", "web").failed(t, exitState)
	require.Contains(t, c.run("rm", "--yes", "web").failed(t, exitState), "--force")
	require.Contains(t, c.run("rm", "--force", "web").failed(t, exitDenied), "--yes")
	require.Contains(t, c.run("stop", "--force", "web").failed(t, exitDenied), "--yes")
	require.Contains(t, c.run("reset", "web").failed(t, exitDenied), "--yes")
	file := write(t, filepath.Join(t.TempDir(), "other.json"), `{"name": "web"}`)
	require.Contains(t, c.run("apply", file).failed(t, exitState), "stop it first")
	require.Contains(t, c.run("wait", "web", "--timeout", "100ms").failed(t, exitTimeout), "running")
	require.Equal(t, vm.Running, parsed[[]vmShown](t, c.run("ls", "--json").ok(t))[0].State)
}

// atOnce works in the guest by many processes, more than it has channels.
func (c tool) atOnce(t *testing.T) {
	var all []*child
	for i := range 6 {
		all = append(all, c.begin(nil, "exec", "web", "sh", "-c", fmt.Sprintf("sleep 0.1; echo %d", i)), c.begin(nil, "qmp", "web", "query-name"))
	}
	for i, p := range all {
		want := fmt.Sprintf("%d\n", i/2)
		if i%2 == 1 {
			want = "{\n  \"name\": \"web\"\n}\n"
		}
		require.Equal(t, want, p.wait().ok(t))
	}
}

func (c tool) stop(t *testing.T) {
	waiter := c.begin(nil, "wait", "web", "--json")
	rows := parsed[[]stopped](t, c.run("stop", "web", "--json").ok(t))
	require.Len(t, rows, 1)
	require.Equal(t, "agent", rows[0].By)
	require.Equal(t, vm.Stopped, parsed[vmShown](t, waiter.wait().ok(t)).State)
	require.Contains(t, c.run("logs", "web").ok(t), "maqet-init: ready") // also afterwards
	require.Contains(t, c.run("exec", "web", "true").failed(t, exitToolFailed), "stopped")
	require.Contains(t, c.run("rm", "web", "--images", "--yes").ok(t), "removed")
	c.run("status", "web").failed(t, exitNotFound)
}
