package libvirt

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	guests "github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

const agentChannelXML = `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`

// bootingDomain starts the default guest, whose agent will answer; it is paused.
func (h qmpHost) bootingDomain(t *testing.T, name string) libvirt.Domain {
	t.Helper()
	boot, err := guests.NewBooter(guests.BooterOptions{}).ResolveBoot(qmpPatient(t), vm.Config{Name: name})
	require.NoError(t, err)
	console := t.TempDir() + "/console"
	require.NoError(t, os.WriteFile(console, nil, 0o600))
	d, err := h.beside.DomainCreateXML(fmt.Sprintf(`<domain type='qemu'><name>%s</name>
		<memory unit='MiB'>256</memory><os><type arch='x86_64' machine='q35'>hvm</type>
		<kernel>%s</kernel><initrd>%s</initrd><cmdline>console=ttyS0 %s</cmdline></os><features><acpi/></features>
		<devices><memballoon model='none'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
		<serial type='file'><source path='%s'/></serial>%s</devices></domain>`,
		name, boot.Kernel, boot.Initrd, joined(boot.Cmdline), console, agentChannelXML), libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = h.beside.DomainDestroy(d)
		if t.Failed() {
			text, _ := os.ReadFile(console)
			t.Logf("console: %s", text)
		}
	})
	return d
}

func joined(args []string) string {
	var out bytes.Buffer
	for _, a := range args {
		out.WriteString(a + " ")
	}
	return out.String()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestAgentConn talks to the default guest's agent through libvirt with the client that
// talks to it through a socket elsewhere.
func TestAgentConn(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.bootingDomain(t, "agent")
	conn := newAgentConn(h.b.host, d, "agent", nil)
	agent := qmp.NewAgent(conn)
	defer agent.Close()

	err := agent.Sync(within(t, 200*time.Millisecond))
	require.ErrorIs(t, err, errors.ErrAgentUnavailable, "it does not run yet")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, agent.Err())
	require.NoError(t, h.beside.DomainResume(d))
	ctx := within(t, 3*time.Minute)
	require.NoError(t, agent.Sync(ctx), "waits until the guest has booted")

	out, err := agent.Execute(ctx, "guest-ping", nil)
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(out))
	var refused *errors.QMPError
	_, err = agent.Execute(ctx, "guest-nope", nil)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "CommandNotFound", refused.Class)
	_, err = agent.Execute(ctx, "guest-file-open", map[string]string{"path": "/nö/such", "mode": "r"})
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "GenericError", refused.Class)
	require.Contains(t, refused.Desc, "no such file")

	t.Run("large", func(t *testing.T) { testAgentLargeFile(t, agent) })

	t.Run("cancelled", func(t *testing.T) {
		require.NoError(t, h.beside.DomainSuspend(d))
		_, err := agent.Execute(within(t, 200*time.Millisecond), "guest-ping", nil)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		begun := time.Now()
		other := newAgentConn(h.b.host, d, "agent", nil)
		require.NoError(t, other.Close())
		require.Less(t, time.Since(begun), 30*time.Second)
		require.NoError(t, h.beside.DomainResume(d))
		_, err = agent.Execute(ctx, "guest-ping", nil)
		require.NoError(t, err)
	})

	require.NoError(t, h.beside.DomainDestroy(d))
	_, err = agent.Execute(ctx, "guest-ping", nil)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	var e libvirt.Error
	require.ErrorAs(t, err, &e, "libvirt's own message is inside")
}

func testAgentLargeFile(t *testing.T, agent *qmp.Agent) {
	ctx := qmpPatient(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 192<<10/16)
	open := func(mode string) (handle int64) {
		handle, err := qmp.Do[int64](ctx, agent, "guest-file-open", map[string]string{"path": "/tmp/large", "mode": mode})
		require.NoError(t, err)
		return handle
	}
	handle := open("w")
	_, err := agent.Execute(ctx, "guest-file-write", map[string]any{"handle": handle, "buf-b64": base64.StdEncoding.EncodeToString(content)})
	require.NoError(t, err)
	_, err = agent.Execute(ctx, "guest-file-close", map[string]any{"handle": handle})
	require.NoError(t, err)
	handle = open("r")
	read, err := qmp.Do[struct {
		Data []byte `json:"buf-b64"`
	}](ctx, agent, "guest-file-read", map[string]any{"handle": handle, "count": len(content)})
	require.NoError(t, err)
	require.Equal(t, content, read.Data)

	_, err = agent.Execute(ctx, "guest-exec", map[string]any{"path": "/bin/true", "input-data": base64.StdEncoding.EncodeToString(content)})
	var refused *errors.QMPError
	require.ErrorAs(t, err, &refused, "libvirt would send garbage")
}

func TestAgentConnWithoutAgent(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "no-agent", "")
	require.NoError(t, h.beside.DomainResume(d))
	agent := qmp.NewAgent(newAgentConn(h.b.host, d, "no-agent", nil))
	defer agent.Close()
	err := agent.Sync(qmpPatient(t))
	require.ErrorIs(t, err, errors.ErrAgentUnavailable, "it has no channel")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}
