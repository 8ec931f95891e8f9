package libvirt

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/qmp"
)

// qmpHost is a host with a connection beside that of the code under test.
type qmpHost struct {
	*testing.T
	daemon *libvirttest.Daemon
	beside *libvirt.Libvirt
	b      *Backend
}

func newQMPHost(t *testing.T, d *libvirttest.Daemon) qmpHost {
	t.Helper()
	b, err := New(Options{URI: d.URI()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return qmpHost{t, d, d.Connect(t), b}
}

// domain starts a paused domain without disks; devices is XML.
func (h qmpHost) domain(t *testing.T, name, devices string) libvirt.Domain {
	t.Helper()
	d, err := h.beside.DomainCreateXML(fmt.Sprintf(`<domain type='qemu'><name>%s</name><uuid>%s</uuid>
		<memory unit='MiB'>64</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
		<devices><memballoon model='none'/>%s</devices></domain>`, name, uuid.New(), devices), libvirt.DomainStartPaused)
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.beside.DomainDestroy(d) }) // fails when the test has ended it
	return d
}

func (h qmpHost) control(t *testing.T, d libvirt.Domain) *control {
	t.Helper()
	c := newControl(h.b.host, d, d.Name)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func qmpPatient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// qmpOne finds one connection, whatever is asked for.
type qmpOne struct{ conn qmp.Conn }

func (f qmpOne) QMP(context.Context, string) (qmp.Conn, error) { return f.conn, nil }

func TestControl(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "control", `<interface type='user'><alias name='ua-net0'/><model type='virtio'/></interface>`)
	c := h.control(t, d)
	ctx := qmpPatient(t)

	_, err := c.Execute(ctx, "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection, "not connected yet")
	require.NoError(t, c.Err())
	require.NoError(t, c.connect(ctx))
	require.NoError(t, c.connect(ctx), "again")
	require.Contains(t, c.Binary(), h.daemon.URI())
	require.Contains(t, c.Binary(), `"qemu"`)

	m := qmp.NewManager(qmpOne{c})
	status, err := m.Status(ctx, "x")
	require.NoError(t, err)
	require.False(t, status.Running)
	require.NoError(t, m.Resume(ctx, "x"))
	require.NoError(t, m.Pause(ctx, "x"))

	var refused *errors.QMPError
	_, err = m.Execute(ctx, "x", "device_del", map[string]string{"id": "nopé"})
	require.ErrorAs(t, err, &refused)
	require.Equal(t, errors.QMPError{VM: "x", Command: "device_del", Class: "DeviceNotFound", Desc: "Device 'nopé' not found"}, *refused)
	_, err = m.Execute(ctx, "x", "quit", nil)
	require.ErrorIs(t, err, errors.ErrQMPDenied)

	require.NoError(t, m.SetLink(ctx, "x", "net0", false), "which libvirt calls ua-net0")
	require.ErrorIs(t, m.SetLink(ctx, "x", "net7", false), errors.ErrQMPCommand)

	out, err := m.Execute(ctx, "x", "query-qmp-schema", nil)
	require.NoError(t, err)
	require.Greater(t, len(out), 100_000)

	var frames []string
	stop := c.Tap(func(f qmp.Frame) { frames = append(frames, fmt.Sprint(f.Sent, f.Command)) })
	_, err = c.Execute(ctx, "query-status", nil)
	require.NoError(t, err)
	stop()
	require.Equal(t, []string{"true", "falsequery-status"}, frames)

	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Execute(over, "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, h.beside.DomainDestroy(d))
	_, err = c.Execute(ctx, "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	var e libvirt.Error
	require.ErrorAs(t, err, &e)
	require.NoError(t, c.Err(), "who watches the domain says when it has ended")
	_ = c.End(errors.New("the guest has ended"))
	_, err = c.Execute(ctx, "query-status", nil)
	require.ErrorContains(t, err, "the guest has ended")
}

// libvirt's test driver has no monitor: what a vm.Manager needs is there all the same.
func TestControlWithoutMonitor(t *testing.T) {
	daemon := daemon.Get(t)
	b, err := New(Options{URI: "test:///default?socket=" + daemon.Socket()})
	require.NoError(t, err)
	defer b.Close()
	ctx := qmpPatient(t)
	var d libvirt.Domain
	require.NoError(t, b.host.call(ctx, "start", "bare", func(l *libvirt.Libvirt) (err error) {
		d, err = l.DomainCreateXML(`<domain type='test'><name>bare</name><memory>65536</memory><os><type>hvm</type></os></domain>`, 0)
		return err
	}))
	c := newControl(b.host, d, "bare")
	defer c.Close()
	require.NoError(t, c.connect(ctx))
	events := c.Subscribe()
	status := func() string {
		s, err := qmp.Do[qmp.StatusInfo](ctx, c, "query-status", nil)
		require.NoError(t, err)
		return fmt.Sprint(s.Status, s.Running)
	}
	require.Equal(t, "runningtrue", status())
	_, err = c.Execute(ctx, "stop", nil)
	require.NoError(t, err)
	require.Equal(t, "pausedfalse", status())
	_, err = c.Execute(ctx, "cont", nil)
	require.NoError(t, err)
	require.Equal(t, "runningtrue", status())
	_, err = c.Execute(ctx, "query-block", nil)
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	_, err = c.Execute(ctx, "quit", nil)
	require.NoError(t, err)

	c.tell(libvirt.DomainEventSuspended, time.Now())
	c.tell(libvirt.DomainEventStarted, time.Now())
	c.tell(libvirt.DomainEventResumed, time.Now())
	require.Equal(t, "STOP", (<-events.C()).Name)
	require.Equal(t, "RESUME", (<-events.C()).Name)
}

// A picture comes over a connection, from whatever host. go-libvirt's call for it always fails
// ("xdr:DecodeUint: EOF"), and sometimes hangs.
func TestScreendump(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "screen", `<video><model type='vga'/></video>`)
	ctx := qmpPatient(t)
	c := h.control(t, d)
	require.NoError(t, c.connect(ctx))
	m := qmp.NewManager(qmpOne{c})
	img, err := m.Screenshot(ctx, "x")
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 100)
	for range 20 {
		_, err = c.Screendump(ctx, qmp.ScreenshotOptions{})
		require.NoError(t, err)
	}
	img, err = m.ScreenshotOf(ctx, "x", qmp.ScreenshotOptions{Device: "video0"})
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 100)
	_, err = m.ScreenshotOf(ctx, "x", qmp.ScreenshotOptions{Device: "video0", Head: 1})
	require.ErrorIs(t, err, errors.ErrQMPCommand)
	_, err = m.ScreenshotOf(ctx, "x", qmp.ScreenshotOptions{Device: "nope"})
	require.ErrorIs(t, err, errors.ErrQMPCommand)

	none := h.control(t, h.domain(t, "no-screen", `<video><model type='none'/></video>`))
	require.NoError(t, none.connect(ctx))
	_, err = qmp.NewManager(qmpOne{none}).Screenshot(ctx, "x")
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.ErrorContains(t, err, "no display")
}
