package libvirtrpc

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// stream0 is what the guest calls the port of its first stream.
const stream0 = "org.maqet.stream.0"

// dial returns a new connection to d.
func dial(t testing.TB, d *libvirttest.Daemon) net.Conn {
	t.Helper()
	conn, err := d.Dial()
	require.NoError(t, err)
	return conn
}

// openConsole opens dom's console, and closes it with t.
func openConsole(t testing.TB, d *libvirttest.Daemon, dom libvirt.Domain) net.Conn {
	t.Helper()
	s, err := OpenConsole(t.Context(), dial(t, d), string(d.Driver()), dom, "", 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// listen registers for events, and closes them with t.
func listen(t testing.TB, d *libvirttest.Daemon) *Events {
	t.Helper()
	e, err := Listen(t.Context(), dial(t, d), string(d.Driver()), Keepalive{Interval: 5 * time.Second, Count: 5})
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// startPaused starts a domain whose CPUs don't run, with a console and two channels. It ends with t.
func startPaused(t testing.TB, d *libvirttest.Daemon, name, boot, devices string) libvirt.Domain {
	t.Helper()
	l := d.Connect(t)
	dom, err := l.DomainCreateXML(`<domain type='qemu'>
		<name>`+name+`</name><memory unit='MiB'>256</memory>
		<os><type arch='x86_64' machine='q35'>hvm</type>`+boot+`</os>
		<cpu mode='maximum'/>
		<features><acpi/></features>
		<on_reboot>restart</on_reboot>
		<devices>
			<controller type='usb' model='none'/>
			<memballoon model='none'/>
			<serial type='pty'/><console type='pty'/>
			<channel type='unix'><target type='virtio' name='`+stream0+`'/></channel>
			<channel type='unix'><target type='virtio' name='test.idle'/></channel>
			`+devices+`
		</devices>
	</domain>`, libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.DomainDestroy(dom) }) // fails when a test has done it
	return dom
}

// startGuest starts maqet's default guest, with the console open before its CPUs run.
func startGuest(t testing.TB, d *libvirttest.Daemon, name, devices string) (libvirt.Domain, net.Conn) {
	t.Helper()
	boot, err := guest.NewBooter(guest.BooterOptions{}).ResolveBoot(t.Context(), vm.Config{Arch: kernel.HostArch(), Machine: "q35"})
	if err != nil {
		testhost.Lacks(t, err)
	}
	dom := startPaused(t, d, name, `<kernel>`+boot.Kernel+`</kernel><initrd>`+boot.Initrd+`</initrd>
		<cmdline>console=ttyS0 `+strings.Join(boot.Cmdline, " ")+`</cmdline>`, devices)
	console := openConsole(t, d, dom)
	require.NoError(t, d.Connect(t).DomainResume(dom))
	return dom, console
}

// readUntil reads from r until what came contains text.
func readUntil(t testing.TB, r io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := r.Read(buf)
		all.Write(buf[:n])
		require.NoError(t, err, "%s", all.String())
	}
	return all.String()
}

// nextEvent returns the next event of dom for which want is true.
func nextEvent(t testing.TB, e *Events, dom libvirt.Domain, want func(Event) bool) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case event, ok := <-e.C():
			require.True(t, ok, "%v", e.conn)
			if event.Domain.UUID == dom.UUID && want(event) {
				return event
			}
		case <-ctx.Done():
			t.Fatal("the event does not come")
		}
	}
}
