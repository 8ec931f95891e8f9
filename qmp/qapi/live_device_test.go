package qapi_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

func TestDeviceCommands(t *testing.T) {
	c, _ := startMachine(t)
	ctx := within(t, time.Minute)

	require.NoError(t, qapi.ObjectAdd(ctx, c, qapi.ObjectOptions{
		QOMType: "memory-backend-ram", ID: "more", Props: map[string]any{"size": 64 << 20},
	}))
	require.NoError(t, qapi.DeviceAdd(ctx, c, qapi.DeviceAddArgs{
		Driver: "pc-dimm", ID: "dimm9", Props: map[string]any{"memdev": "more"},
	}))
	require.NoError(t, qapi.NetdevAdd(ctx, c, qapi.Netdev{
		Type: qapi.NetClientDriverUser, ID: "net1",
		Props: map[string]any{"restrict": true, "dnssearch": []map[string]string{{"str": "example.org"}}},
	}))
	require.NoError(t, qapi.DeviceAdd(ctx, c, qapi.DeviceAddArgs{
		Driver: "virtio-net-pci", ID: "nic1", Bus: "port0", Props: map[string]any{"netdev": "net1", "mac": "52:54:00:12:34:56"},
	}))
	filters, err := qapi.QueryRXFilter(ctx, c, "nic1")
	require.NoError(t, err)
	require.Equal(t, "52:54:00:12:34:56", filters[0].MainMAC)
	require.NoError(t, qapi.SetLink(ctx, c, "nic1", false))

	// Without a guest that runs, the device goes at the reset.
	sub := c.Subscribe(qapi.EventDeviceDeleted)
	defer sub.Close()
	require.NoError(t, qapi.DeviceDel(ctx, c, "nic1"))
	require.NoError(t, qapi.SystemReset(ctx, c))
	gone, _, err := qapi.Await(ctx, sub, func(e qapi.DeviceDeletedEvent) bool { return e.Device == "nic1" })
	require.NoError(t, err)
	require.Equal(t, "/machine/peripheral/nic1", gone.Path)
	require.NoError(t, qapi.NetdevDel(ctx, c, "net1"))
	require.Error(t, qapi.ObjectDel(ctx, c, "more"), "the DIMM has it")

	properties, err := qapi.DeviceListProperties(ctx, c, "virtio-blk-pci")
	require.NoError(t, err)
	require.NotEmpty(t, properties)
	types, err := qapi.QOMListTypes(ctx, c, "memory-backend", false)
	require.NoError(t, err)
	require.NotEmpty(t, types)
	children, err := qapi.QOMList(ctx, c, "/machine")
	require.NoError(t, err)
	require.NotEmpty(t, children)
	_, err = qapi.QOMListProperties(ctx, c, "iothread")
	require.NoError(t, err)
	require.NoError(t, qapi.QOMSet(ctx, c, "/objects/io0", "poll-max-ns", 1000))
	value, err := qapi.QOMGet[any](ctx, c, "/objects/io0", "poll-max-ns")
	require.NoError(t, err)
	require.EqualValues(t, 1000, value)
	require.NoError(t, qapi.Balloon(ctx, c, 96<<20))
}

func TestRunCommands(t *testing.T) {
	c, _ := startMachine(t)
	ctx := within(t, time.Minute)
	sub := c.Subscribe(qapi.EventStop, qapi.EventResume, qapi.EventReset, qapi.EventPowerdown, qapi.EventShutdown)
	defer sub.Close()
	require.NoError(t, qapi.SetAction(ctx, c, qapi.SetActionArgs{Shutdown: qapi.ShutdownActionPause, Panic: qapi.PanicActionPause}))
	require.NoError(t, qapi.WatchdogSetAction(ctx, c, qapi.WatchdogActionReset))
	require.NoError(t, qapi.Cont(ctx, c))
	_, _, err := qapi.Await[qapi.ResumeEvent](ctx, sub, nil)
	require.NoError(t, err)
	require.NoError(t, qapi.Stop(ctx, c))
	_, e, err := qapi.Await[qapi.StopEvent](ctx, sub, nil)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), e.Time, time.Minute)
	require.NoError(t, qapi.SystemReset(ctx, c))
	reset, _, err := qapi.Await[qapi.ResetEvent](ctx, sub, nil)
	require.NoError(t, err)
	require.Equal(t, qapi.ResetEvent{Reason: qapi.ShutdownCauseHostQMPSystemReset}, reset)
	require.NoError(t, qapi.SystemPowerdown(ctx, c))
	require.NoError(t, qapi.InjectNMI(ctx, c))
	require.NoError(t, qapi.RTCResetReinjection(ctx, c))
	require.ErrorIs(t, qapi.SystemWakeup(ctx, c), errors.ErrQMPCommand, "it does not sleep")
	require.NoError(t, qapi.Quit(ctx, c))
	end, _, err := qapi.Await[qapi.ShutdownEvent](ctx, sub, nil)
	require.NoError(t, err)
	require.Equal(t, qapi.ShutdownCauseHostQMPQuit, end.Reason)
}

func TestDisplayAndChardevCommands(t *testing.T) {
	c, dir := startMachine(t)
	ctx := within(t, time.Minute)
	picture := filepath.Join(dir, "screen")
	require.NoError(t, qapi.Screendump(ctx, c, qapi.ScreendumpArgs{Filename: picture, Device: "vga0"}))
	head, err := os.ReadFile(picture)
	require.NoError(t, err)
	require.Equal(t, "P6", string(head[:2]))
	require.NoError(t, qapi.SendKey(ctx, c, []qapi.KeyValue{{QCode: qapi.QKeyCodeCtrl}, {Number: 30}}, 1))
	require.NoError(t, qapi.Cont(ctx, c), "input is for guests that run")
	require.NoError(t, qapi.InputSendEvent(ctx, c, qapi.InputSendEventArgs{Events: []qapi.InputEvent{
		{Type: qapi.InputEventKindKey, Data: qapi.InputKeyEvent{Key: qapi.KeyValue{QCode: qapi.QKeyCodeA}, Down: true}},
		{Type: qapi.InputEventKindKey, Data: qapi.InputKeyEvent{Key: qapi.KeyValue{QCode: qapi.QKeyCodeA}}},
		{Type: qapi.InputEventKindAbs, Data: qapi.InputMoveEvent{Axis: qapi.InputAxisX, Value: 0}},
		{Type: qapi.InputEventKindBtn, Data: qapi.InputBtnEvent{Button: qapi.InputButtonLeft, Down: true}},
	}}))
	require.NoError(t, qapi.SetPassword(ctx, c, qapi.SetPasswordOptions{Protocol: qapi.DisplayProtocolVNC, Password: "secret"}))
	require.NoError(t, qapi.ExpirePassword(ctx, c, qapi.ExpirePasswordOptions{Protocol: qapi.DisplayProtocolVNC, Time: "+60"}))
	require.NoError(t, qapi.ChangeVNCPassword(ctx, c, "other"))
	require.NoError(t, qapi.DisplayUpdate(ctx, c, qapi.DisplayUpdateOptions{
		Type:      qapi.DisplayUpdateTypeVNC,
		Addresses: []qapi.SocketAddress{{Type: qapi.SocketAddressTypeUnix, Path: filepath.Join(dir, "vnc2")}},
	}))

	require.NoError(t, qapi.RingbufWrite(ctx, c, "ring0", "aGVsbG8=", qapi.DataFormatBase64))
	text, err := qapi.RingbufRead(ctx, c, "ring0", 100, "")
	require.NoError(t, err)
	require.Equal(t, "hello", text)
	for name, backend := range map[string]qapi.ChardevBackend{
		"null":   {Type: qapi.ChardevBackendKindNull, Data: qapi.ChardevCommon{}},
		"file":   {Type: qapi.ChardevBackendKindFile, Data: qapi.ChardevFile{Out: filepath.Join(dir, "out"), Append: true}},
		"buffer": {Type: qapi.ChardevBackendKindRingbuf, Data: qapi.ChardevRingbuf{Size: 4096}},
		"socket": {Type: qapi.ChardevBackendKindSocket, Data: qapi.ChardevSocket{
			Addr: qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeUnix, Path: filepath.Join(dir, "serial")},
		}},
		"inet": {Type: qapi.ChardevBackendKindSocket, Data: qapi.ChardevSocket{
			Addr: qapi.SocketAddressLegacy{Type: qapi.SocketAddressTypeInet, Host: "127.0.0.1", Port: "0"},
		}},
	} {
		_, err := qapi.ChardevAdd(ctx, c, name, backend)
		require.NoError(t, err, name)
		require.NoError(t, qapi.ChardevRemove(ctx, c, name))
	}
	pty, err := qapi.ChardevAdd(ctx, c, "pty0", qapi.ChardevBackend{Type: qapi.ChardevBackendKindPty, Data: qapi.ChardevPty{}})
	require.NoError(t, err)
	require.Contains(t, pty.Pty, "/dev/")
	require.NoError(t, qapi.ChardevSendBreak(ctx, c, "pty0"))
}

func TestFileCommands(t *testing.T) {
	c := startQEMU(t, "-M", "none")
	ctx := within(t, 30*time.Second)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	require.NoError(t, qapi.GetFD(ctx, c, "pipe", w))
	require.NoError(t, qapi.CloseFD(ctx, c, "pipe"))
	info, err := qapi.AddFD(ctx, c, qapi.AddFDArgs{FdsetID: new(int64(0)), Opaque: "note"}, w)
	require.NoError(t, err)
	require.Zero(t, info.FdsetID, "the set that was asked for")
	sets, err := qapi.QueryFdsets(ctx, c)
	require.NoError(t, err)
	require.Equal(t, []qapi.FdsetInfo{{FDs: []qapi.FdsetFdInfo{{FD: info.FD, Opaque: "note"}}}}, sets)
	require.NoError(t, qapi.RemoveFD(ctx, c, 0, &info.FD))
	require.ErrorIs(t, qapi.GetFD(ctx, qmp.NewClient(), "pipe", w), errors.ErrQMPConnection)
}
