//go:build linux

package qmp

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
)

// monitorDifferences is all in which go-qemu's monitor of a libvirt domain answers other
// than a Client on QEMU's socket, by the labels of script.
var monitorDifferences = map[string]struct{ client, monitor string }{
	// go-libvirt keeps only the description of QEMU's errors.
	"unknown device":  {"QMPCommand DeviceNotFound: Device 'nope' not found", "QMPCommand GenericError: Device 'nope' not found"},
	"unknown command": {"QMPCommand CommandNotFound: The command nope has not been found", "QMPCommand GenericError: The command nope has not been found"},
	// go-libvirt can't decode an event whose data is null, and drops it.
	"events": {"RESUME STOP RESET", "RESET"},
	// A monitor has no way to pass a file.
	"file": {"{}", "QMPUnsupported"},
}

// script runs what the manager can do on the VM web, which is paused, and returns what
// came of each step.
func script(t *testing.T, m *Manager) map[string]string {
	ctx, dangerous := t.Context(), AllowDangerous(t.Context())
	said := map[string]string{}
	do := func(label string, ctx context.Context, command string, args any) {
		out, err := m.Execute(ctx, "web", command, args)
		said[label] = summary(t, out, err)
	}
	status := func(label string) {
		s, err := m.Status(ctx, "web")
		said[label] = summary(t, fmt.Appendf(nil, `"%s %v"`, s.Status, s.Running), err)
	}
	events, err := m.Events(ctx, "web", "STOP", "RESUME", "RESET")
	require.NoError(t, err)

	status("status at first")
	said["resume"] = summary(t, nil, m.Resume(ctx, "web"))
	status("status running")
	said["pause"] = summary(t, nil, m.Pause(ctx, "web"))
	status("status paused")
	said["reset"] = summary(t, nil, m.Reset(ctx, "web"))
	said["events"] = untilReset(t, events)

	do("version", ctx, "query-version", nil)
	do("schema", ctx, "query-qmp-schema", nil)
	do("unknown device", ctx, "device_del", map[string]string{"id": "nope"})
	do("unknown command", ctx, "nope", nil)
	do("argument missing", ctx, "device_add", map[string]string{"id": "r"})
	do("no name of a command", ctx, "no command", nil)
	do("denied", ctx, "quit", nil)
	text, err := m.HMP(dangerous, "web", "é\u2028<&>%s\\'{}")
	quoted, marshalErr := json.Marshal(text)
	require.NoError(t, marshalErr)
	said["odd text"] = summary(t, quoted, err)
	_, err = Call[int](ctx, m, "web", "query-version", nil)
	said["not an int"] = summary(t, nil, err)
	_, err = m.Execute(ctx, "other", "query-version", nil)
	said["unknown VM"] = summary(t, nil, err)
	over, cancel := context.WithCancel(ctx)
	cancel()
	do("cancelled", over, "query-version", nil)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	out, err := m.executeAs(ctx, "web", Normal, "getfd", map[string]string{"fdname": "f"}, null)
	said["file"] = summary(t, out, err)
	return said
}

// echo is an HMP command that QEMU does not know: it says so with the text.
func summary(t *testing.T, out json.RawMessage, err error) string {
	t.Helper()
	var e *errors.QMPError
	switch {
	case errors.As(err, &e):
		return errors.KindOf(err).Name() + " " + e.Class + ": " + e.Desc
	case err != nil:
		require.NotNil(t, errors.KindOf(err), "%v is typed", err)
		return errors.KindOf(err).Name()
	case len(out) > 1000: // JSON of libvirt's making has other blanks, and another order
		return fmt.Sprintf("%d bytes %x", len(sorted(t, out)), sha256.Sum256(sorted(t, out)))
	case len(out) > 0:
		return string(sorted(t, out))
	}
	return "done"
}

func sorted(t *testing.T, text json.RawMessage) []byte {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(text, &v))
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return out
}

// untilReset returns the names of the events up to the reset that the host asked for.
// The guest may reset itself.
func untilReset(t *testing.T, events <-chan Event) string {
	t.Helper()
	var names []string
	for {
		e := soon(t, events)
		var data struct{ Guest bool }
		require.NoError(t, e.Decode(&data))
		require.WithinDuration(t, time.Now(), e.Time, time.Minute)
		if data.Guest {
			continue
		}
		if names = append(names, e.Name); e.Name == "RESET" {
			return strings.Join(names, " ")
		}
	}
}

// TestLibvirtMonitor runs a domain of libvirt, seen through go-qemu's monitor, behind the
// same Manager as any other QEMU.
func TestLibvirtMonitor(t *testing.T) {
	domains := libvirtDomains{daemon: libvirttest.Start(t)}
	domains.conn = domains.daemon.Connect(t)
	t.Run("answers as a Client", func(t *testing.T) { testLibvirtAnswers(t, domains) })
	t.Run("many goroutines", func(t *testing.T) { testLibvirtConcurrency(t, domains) })
	t.Run("QEMU hangs", func(t *testing.T) { testLibvirtQEMUHangs(t, domains) })
	t.Run("domain destroyed", func(t *testing.T) { testLibvirtDestroyed(t, domains) })
	t.Run("domain gone while idle", func(t *testing.T) { testLibvirtGoneWhileIdle(t, domains) })
	t.Run("QEMU killed", func(t *testing.T) { testLibvirtQEMUKilled(t, domains) })
	t.Run("connection closed", func(t *testing.T) { testLibvirtConnectionClosed(t, domains) })
	t.Run("closed while events arrive", func(t *testing.T) { testLibvirtClosedUnderEvents(t, domains) })
	t.Run("libvirtd hangs", func(t *testing.T) { testLibvirtdHangs(t, domains) })
	t.Run("libvirtd killed", func(t *testing.T) { testLibvirtdKilled(t, domains) })
}

// libvirtDomains starts domains and connects to them.
type libvirtDomains struct {
	daemon *libvirttest.Daemon
	conn   *libvirt.Libvirt
}

// start starts a paused domain without disks, which ends with the test or the daemon.
func (d libvirtDomains) start(t *testing.T, name string) libvirt.Domain {
	t.Helper()
	qemu, err := exec.LookPath("qemu-system-x86_64")
	require.NoError(t, err)
	domain, err := d.conn.DomainCreateXML(fmt.Sprintf(`<domain type='qemu'>
		<name>%s</name><memory unit='MiB'>64</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type></os>
		<devices><emulator>%s</emulator><memballoon model='none'/></devices>
	</domain>`, name, qemu), libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.conn.DomainDestroy(domain) }) // fails when the test has ended it
	return domain
}

// connect returns go-qemu's monitor of a domain as a Conn, and what is below it.
func (d libvirtDomains) connect(t *testing.T, name string) (Conn, net.Conn) {
	t.Helper()
	below, err := d.daemon.DialMonitor()
	require.NoError(t, err)
	m := goqemu.NewLibvirtRPCMonitor(name, below)
	require.NoError(t, m.Connect())
	c, err := FromMonitor(m)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(); _ = below.Close() })
	return c, below
}

func testLibvirtAnswers(t *testing.T, domains libvirtDomains) {
	domains.start(t, "answers")
	conn, _ := domains.connect(t, "answers")
	monitor := script(t, NewManager(oneVM{conn}))

	socket, server := pair(t)
	file, err := server.conn.File()
	require.NoError(t, err)
	require.NoError(t, server.conn.Close())
	launchQEMU(t, []*os.File{file}, "-M", "q35", "-m", "64", "-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	c := NewClient()
	defer c.Close()
	require.NoError(t, c.Connect(within(t, 30*time.Second), socket))
	client := script(t, NewManager(oneVM{c}))

	require.Len(t, monitor, len(client))
	for label, said := range client {
		want, differs := monitorDifferences[label]
		if !differs {
			want.client, want.monitor = said, said
		}
		require.Equal(t, want.client, said, label)
		require.Equal(t, want.monitor, monitor[label], label)
	}
	for label := range monitorDifferences {
		require.Contains(t, client, label)
	}
}
