package maqettest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// TestGuest works in one guest in all the ways that Guest has.
func TestGuest(t *testing.T) {
	needQEMU(t)
	g := Boot(t)
	for name, test := range map[string]func(t *testing.T, g *Guest){
		"run": testRun, "files": testFiles, "process": testProcess, "eventually": testEventually, "console": testConsole,
	} {
		t.Run(name, func(t *testing.T) { test(t, g.For(t)) })
	}
	t.Run("reboot", func(t *testing.T) { testReboot(t, g.For(t)) }) // now that nobody needs what it loses
	t.Run("gone", func(t *testing.T) { testGone(t, g.For(t)) })
}

// refused fails unless fn fails its test at once, and returns that one's log.
func refused(t *testing.T, g *Guest, fn func(g *Guest)) string {
	t.Helper()
	r := record(t, func(r *recorder) {
		fn(g.For(r))
		t.Error("the test went on")
	})
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), g.Name(), "which guest")
	return r.log.String()
}

func testRun(t *testing.T, g *Guest) {
	require.Equal(t, "fine\n", string(g.Run("echo", "fine").Stdout))
	require.Contains(t, refused(t, g, func(g *Guest) { g.Run("sh", "-c", "echo no >&2; exit 4") }), "exit status 4")
	log := refused(t, g, func(g *Guest) { g.Within(time.Second).Run("sleep", "1000") })
	require.Contains(t, log, "deadline exceeded")
}

func testFiles(t *testing.T, g *Guest) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tree/sub"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tree/sub/a"), []byte("aa"), 0o600))
	g.Copy(filepath.Join(dir, "tree"), "/tmp/tree")
	require.Equal(t, "aa", string(g.ReadFile("/tmp/tree/sub/a")))
	g.WriteFile("/tmp/tree/b", []byte("bb"), 0o640)
	g.CopyFrom("/tmp/tree", filepath.Join(dir, "back"))
	data, err := os.ReadFile(filepath.Join(dir, "back/b"))
	require.NoError(t, err)
	require.Equal(t, "bb", string(data))

	for name, fn := range map[string]func(g *Guest){
		"copy":      func(g *Guest) { g.Copy(filepath.Join(dir, "missing"), "/tmp") },
		"copy from": func(g *Guest) { g.CopyFrom("/missing", dir) },
		"write":     func(g *Guest) { g.WriteFile("/missing/file", nil, 0o600) },
		"read":      func(g *Guest) { g.ReadFile("/missing") },
	} {
		require.Contains(t, refused(t, g, fn), "missing", name)
	}
}

func testProcess(t *testing.T, g *Guest) {
	p := g.Start("sh", "-c", "echo begun; echo odd >&2; read x < /dev/zero; sleep 1000")
	g.Eventually(func() error {
		if p.Stdout() != "begun\n" || p.Stderr() != "odd\n" {
			return errors.New("it printed " + p.Stdout())
		}
		return nil
	})
	require.Contains(t, refused(t, g, func(g *Guest) { g.Within(10*time.Millisecond).Start("sleep", "1000").Wait() }), "still runs")
	p.Kill()
	p.Kill() // does nothing
	res := p.Wait()
	require.Equal(t, -1, res.ExitCode)
	require.Equal(t, "begun\n", string(res.Stdout))

	p = g.Start("sh", "-c", "echo out; echo err >&2")
	res = p.Wait()
	<-p.Done()
	require.Equal(t, guest.Result{Stdout: []byte("out\n"), Stderr: []byte("err\n")}, res)
	require.Contains(t, refused(t, g, func(g *Guest) { g.Start("sh", "-c", "exit 5").Wait() }), "exit status 5")
	require.Contains(t, refused(t, g, func(g *Guest) { g.Start("no-such-program").Wait() }), "no-such-program")

	// What ends with its test, and what nobody asks for.
	runs := []string{"sh", "-c", "test -s /tmp/pid && test -d /proc/$(cat /tmp/pid)"}
	r := record(t, func(r *recorder) {
		of := g.For(r)
		of.Start("sh", "-c", "echo $$ > /tmp/pid; exec sleep 1000")
		p := of.Start("sh", "-c", "exit 6")
		<-p.Done()
		of.Eventually(func() error {
			_, err := of.Exec(t.Context(), runs...)
			return err
		})
	})
	require.False(t, r.failed, r.log.String())
	require.Contains(t, r.log.String(), `nobody waited for "sh -c exit 6"`)
	require.NotContains(t, r.log.String(), "sleep")
	g.Eventually(func() error {
		if _, err := g.Exec(t.Context(), runs...); err == nil {
			return errors.New("it still runs")
		}
		return nil
	})
}

func TestOutputIsBounded(t *testing.T) {
	var o output
	block := []byte(strings.Repeat("x", 1<<20))
	for range 20 {
		n, err := o.Write(block)
		require.NoError(t, err)
		require.Equal(t, len(block), n)
	}
	require.Len(t, o.text(), guest.CaptureLimit)
}

func testEventually(t *testing.T, g *Guest) {
	g.WaitFor(guest.FileExists("/proc/self"))
	log := refused(t, g, func(g *Guest) {
		g.Within(50 * time.Millisecond).Eventually(func() error { return errors.New("the last word") })
	})
	require.Contains(t, log, "the last word")
	require.Contains(t, log, "within 50ms")
	require.Contains(t, refused(t, g, func(g *Guest) {
		g.Within(50 * time.Millisecond).WaitFor(guest.FileExists("/never"))
	}), `still to come: file "/never" exists`)
}

func testConsole(t *testing.T, g *Guest) {
	require.NotEmpty(t, g.Console().Text())
	g.Run("sh", "-c", "echo one-1 two-2 > /dev/console")
	match := g.Console().Expect(`one-(\d)`)
	require.Equal(t, []string{"one-1", "1"}, match.Groups)
	g.Console().ExpectText("two-2")
	require.Contains(t, refused(t, g, func(g *Guest) { g.Within(50 * time.Millisecond).Console().Expect("one-1") }), "one-1",
		"the position is behind it")
	require.Contains(t, refused(t, g, func(g *Guest) { g.Console().Expect("(") }), "ExpectText")
	g.Console().Send("\n")
}

func testReboot(t *testing.T, g *Guest) {
	before := g.ReadFile("/proc/sys/kernel/random/boot_id")
	p := g.Start("sleep", "1000")
	g.Reboot()
	require.NotEqual(t, string(before), string(g.ReadFile("/proc/sys/kernel/random/boot_id")))
	<-p.Done()
	g.Run("true")
}

// testGone ends the guest: what waits for something in it ends at once.
func testGone(t *testing.T, g *Guest) {
	p := g.Start("sleep", "1000")
	off := g.Start("poweroff", "-f")
	begun := time.Now()
	log := refused(t, g, func(g *Guest) {
		g.Within(10 * time.Minute).Eventually(func() error { return errors.New("the last word") })
	})
	require.Contains(t, log, "never will be")
	require.Contains(t, log, "the last word")
	require.Less(t, time.Since(begun), 5*time.Minute)
	<-p.Done()
	<-off.Done()

	g.Eventually(func() error { // of a guest that is off it is possible, too
		inst, err := g.Instance(t.Context())
		if err == nil && inst.State.Live() {
			err = errors.New("it is " + string(inst.State))
		}
		return err
	})
	refused(t, g, func(g *Guest) { g.Run("true") })
	refused(t, g, func(g *Guest) { g.Reboot() })
	refused(t, g, func(g *Guest) { g.WaitFor(guest.AgentReady()) })
	require.Contains(t, refused(t, g, func(g *Guest) { g.Console().Expect("never printed") }), "never printed")
	require.NoError(t, g.Machine.Start(t.Context()))
	g.Run("true")
}
