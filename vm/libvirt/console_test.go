package libvirt

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	maqetguest "github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/kernel"
	guestwire "github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// rpcBackend returns a backend on d. It ends with t.
func rpcBackend(t testing.TB, d *libvirttest.Daemon, logs string) *Backend {
	t.Helper()
	b, err := New(Options{URI: d.URI(), LogDir: logs})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// rpcDomain starts maqet's default guest with its CPUs halted. It ends with t.
func rpcDomain(t testing.TB, d *libvirttest.Daemon, name string) libvirt.Domain {
	t.Helper()
	boot, err := maqetguest.NewBooter(maqetguest.BooterOptions{}).ResolveBoot(t.Context(), vm.Config{Arch: kernel.HostArch(), Machine: "q35"})
	if err != nil {
		testhost.Lacks(t, err)
	}
	l := d.Connect(t)
	dom, err := l.DomainCreateXML(`<domain type='qemu'>
		<name>`+name+`</name><memory unit='MiB'>256</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type>
			<kernel>`+boot.Kernel+`</kernel><initrd>`+boot.Initrd+`</initrd>
			<cmdline>console=ttyS0 `+strings.Join(boot.Cmdline, " ")+`</cmdline></os>
		<cpu mode='maximum'/>
		<features><acpi/></features>
		<devices>
			<controller type='usb' model='none'/>
			<memballoon model='none'/>
			<serial type='pty'/><console type='pty'/>
			<channel type='unix'><target type='virtio' name='`+guestview.AgentPort+`'/></channel>
			<channel type='unix'><target type='virtio' name='`+guestview.StreamPort0+`'/></channel>
		</devices>
	</domain>`, libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.DomainDestroy(dom) })
	return dom
}

// rpcChannels opens dom's channels, as a guest of b that ends with t.
func rpcChannels(t testing.TB, b *Backend, dom libvirt.Domain) *channels {
	t.Helper()
	life, end := context.WithCancelCause(t.Context())
	rt := vm.Runtime{
		Console: filepath.Join(b.logDir(uuid.UUID(dom.UUID).String()), consoleLog),
		Sockets: map[string]string{vm.ChannelAgent: guestview.AgentPort, vm.ChannelStream0: guestview.StreamPort0},
	}
	c, err := b.openChannels(t.Context(), life, dom.Name, dom, rt)
	require.NoError(t, err)
	t.Cleanup(func() {
		end(errors.New("the test ends"))
		c.close()
	})
	return c
}

func rpcLog(t testing.TB, c *channels) string {
	t.Helper()
	text, err := os.ReadFile(c.mirror.path)
	require.NoError(t, err)
	return string(text)
}

// rpcAwait waits until the console's log has text.
func rpcAwait(t testing.TB, c *channels, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(rpcLog(t, c), text) }, 2*time.Minute, 10*time.Millisecond)
}

func rpcType(t testing.TB, c *channels, text string) {
	t.Helper()
	conn, err := c.dial(t.Context(), vm.ChannelConsole, true)
	require.NoError(t, err)
	_, err = conn.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// One guest for all that its console and channels do.
func TestChannels(t *testing.T) {
	d := daemon.Get(t)
	logs := t.TempDir()
	b := rpcBackend(t, d, logs)
	dom := rpcDomain(t, d, "channels-"+strings.ToLower(rand.Text()[:6]))
	c := rpcChannels(t, b, dom)
	l := d.Connect(t)
	require.NoError(t, l.DomainResume(dom))
	rpcAwait(t, c, "maqet-init: ready")

	t.Run("file", func(t *testing.T) {
		info, err := os.Stat(c.mirror.path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		info, err = os.Stat(c.dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	})
	t.Run("type", func(t *testing.T) { channelsType(t, c) })
	t.Run("stream", func(t *testing.T) { channelsStream(t, c) })
	other := rpcChannels(t, rpcBackend(t, d, logs), dom)
	t.Run("take over", func(t *testing.T) { channelsTakeOver(t, c, other) })
	c = other
	t.Run("last words", func(t *testing.T) {
		rpcType(t, c, "seq 1 20000; echo last-$((1+1)); poweroff -f\n")
		require.Eventually(t, func() bool {
			_, err := l.DomainLookupByUUID(dom.UUID)
			return hasCode(err, libvirt.ErrNoDomain)
		}, 2*time.Minute, 10*time.Millisecond)
		c.drain()
		require.Contains(t, rpcLog(t, c), "\r\n20000\r\nlast-2\r\n")
		_, err := c.dial(t.Context(), vm.ChannelConsole, true)
		require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	})
}

func channelsType(t *testing.T, c *channels) {
	conn, err := c.dial(t.Context(), vm.ChannelConsole, false)
	require.NoError(t, err)
	_, err = c.dial(t.Context(), vm.ChannelConsole, false)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = c.dial(ctx, vm.ChannelConsole, true)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	_, err = conn.Write([]byte("echo typed-$((40+2))\n"))
	require.NoError(t, err)
	rpcAwait(t, c, "typed-42")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), "typed-42") {
		n, err := conn.Read(buf)
		require.NoError(t, err)
		seen.Write(buf[:n])
	}
	next := make(chan error)
	go func() {
		conn, err := c.dial(t.Context(), vm.ChannelConsole, true)
		if err == nil {
			err = conn.Close()
		}
		next <- err
	}()
	require.NoError(t, conn.Close())
	require.NoError(t, <-next)
	_, err = conn.Write([]byte("x"))
	require.Error(t, err)
}

func channelsStream(t *testing.T, c *channels) {
	conn, err := c.dial(t.Context(), vm.ChannelStream0, false)
	require.NoError(t, err)
	session, err := guestwire.Connect(t.Context(), conn)
	require.NoError(t, err)
	var out strings.Builder
	_, err = session.Exec(t.Context(), guestwire.ExecRequest{Args: []string{"uname", "-s"}, Stdout: &out})
	require.NoError(t, err)
	require.Equal(t, "Linux\n", out.String())

	_, err = c.dial(t.Context(), vm.ChannelStream0, false)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	_, err = c.dial(t.Context(), vm.ChannelStream1, false)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable, "the guest has none")
	next := make(chan error)
	go func() {
		conn, err := c.dial(t.Context(), vm.ChannelStream0, true)
		if err == nil {
			err = conn.Close()
		}
		next <- err
	}()
	require.NoError(t, session.Close())
	require.NoError(t, <-next)
}

// channelsTakeOver has other, which waits, take the console over from c.
func channelsTakeOver(t *testing.T, c, other *channels) {
	_, err := other.dial(t.Context(), vm.ChannelConsole, false)
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	c.mirror.close()
	rpcType(t, other, "echo taken-$((1+1))\n")
	rpcAwait(t, other, "taken-2")
}

// A host whose connection is lost: the console is opened again when it is back.
func TestConsoleAfterLoss(t *testing.T) {
	d := daemon.Get(t)
	dom := eventsPaused(t, d, "console-lost")
	c := &cuttable{d: d}
	hint := make(chan struct{}, 1)
	opened := make(chan struct{}, 16)
	path := filepath.Join(t.TempDir(), "vm", consoleLog)
	b := rpcBackend(t, d, t.TempDir())
	m := newConsoleMirror("vm", path, func(ctx context.Context) (_ net.Conn, err error) {
		defer func() { opened <- struct{}{} }()
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		return libvirtrpc.OpenConsole(ctx, conn, b.host.driverURI(), dom, "", 0)
	}, hint, b.log)
	require.NoError(t, m.start(t.Context()))
	<-opened
	conn, err := m.dial(t.Context(), true)
	require.NoError(t, err)
	c.cut(errors.New("away"))
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err, "what was typed into ends")
	require.NoError(t, conn.Close())
	<-opened
	_, err = m.dial(t.Context(), false)
	require.Error(t, err)
	c.cut(nil)
	hint <- struct{}{}
	conn, err = m.dial(t.Context(), true)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	m.close()
}
