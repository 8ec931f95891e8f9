package qmp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestDeviceValidate(t *testing.T) {
	disk := func(change func(*Disk)) Device {
		d := Disk{Path: "/a.raw", Format: "raw"}
		change(&d)
		return Device{ID: "d", Disk: &d}
	}
	nic := func(f ...Forward) Device { return Device{ID: "n", NIC: &NIC{Forwards: f}} }
	ok := Forward{Port: 80, Guest: 80}
	for field, devices := range map[string][]Device{
		"device.id": {{RNG: &RNG{}}, {ID: "1st", RNG: &RNG{}}, {ID: "a b", RNG: &RNG{}}, {ID: "a/b", RNG: &RNG{}}, {ID: "a\n", RNG: &RNG{}},
			{ID: strings.Repeat("x", 32), RNG: &RNG{}}, {ID: strings.Repeat("x", 27), Disk: &Disk{Path: "/a", Format: "raw"}},
			{ID: "two", RNG: &RNG{}, CPU: &CPU{}}},
		"device.driver":                {{ID: "a"}, {ID: "a", Driver: "x,y"}, {ID: "a", Driver: "-x"}, {ID: "a", Props: map[string]any{"b": 1}}},
		"device.bus":                   {{ID: "a", Driver: "x", Bus: "a b"}, {ID: "a", Driver: "x", Bus: "a\x00"}},
		"device.props[drive]":          {{ID: "a", Disk: &Disk{Path: "/a", Format: "raw"}, Props: map[string]any{"drive": "other"}}},
		"device.props[id]":             {{ID: "a", Driver: "x", Props: map[string]any{"id": "b"}}},
		"device.props[bus]":            {{ID: "a", Driver: "x", Props: map[string]any{"bus": "b"}}},
		"device.props[a b]":            {{ID: "a", Driver: "x", Props: map[string]any{"a b": 1}}},
		"device.props[f]":              {{ID: "a", Driver: "x", Props: map[string]any{"f": func() {}}}},
		"device.disk.path":             {disk(func(d *Disk) { d.Path = "a.raw" }), disk(func(d *Disk) { d.Path = "" }), disk(func(d *Disk) { d.Path = "/a\n" })},
		"device.disk.format":           {disk(func(d *Disk) { d.Format = "" }), disk(func(d *Disk) { d.Format = "vmdk" })},
		"device.disk.interface":        {disk(func(d *Disk) { d.Interface = "ide" })},
		"device.disk.serial":           {disk(func(d *Disk) { d.Serial = strings.Repeat("x", 21) }), disk(func(d *Disk) { d.Serial = "ü" })},
		"device.nic.mac":               {{ID: "n", NIC: &NIC{MAC: "x"}}, {ID: "n", NIC: &NIC{MAC: "53:54:00:00:00:01"}}, {ID: "n", NIC: &NIC{MAC: "52:54:00:00:00:00:00:01"}}},
		"device.nic.forwards[0].port":  {nic(Forward{Guest: 1})},
		"device.nic.forwards[0].guest": {nic(Forward{Port: 1, Guest: 65536})},
		"device.nic.forwards[0].proto": {nic(Forward{Port: 1, Guest: 1, Proto: "sctp"})},
		"device.nic.forwards[0].host":  {nic(Forward{Port: 1, Guest: 1, Host: "::1"}), nic(Forward{Port: 1, Guest: 1, Host: "1.2.3.4,x=y"})},
		"device.nic.forwards[1].port":  {nic(ok, Forward{Host: "127.0.0.1", Port: 80, Guest: 81, Proto: "tcp"})},
		"device.serial.name":           {{ID: "s", Serial: &SerialPort{}}, {ID: "s", Serial: &SerialPort{Name: "a/b"}}, {ID: "s", Serial: &SerialPort{Name: "a b"}}},
		"device.serial":                {{ID: "s", Serial: &SerialPort{Name: "a", Socket: "/s", File: "/f"}}},
		"device.serial.socket":         {{ID: "s", Serial: &SerialPort{Name: "a", Socket: "s"}}, {ID: "s", Serial: &SerialPort{Name: "a", Socket: "/" + strings.Repeat("s", 107)}}},
		"device.serial.file":           {{ID: "s", Serial: &SerialPort{Name: "a", File: "f"}}},
		"device.memory.size":           {{ID: "m", Memory: &Memory{}}, {ID: "m", Memory: &Memory{Size: -1 << 20}}, {ID: "m", Memory: &Memory{Size: 1<<20 + 1}}},
	} {
		for _, d := range devices {
			var bad *errors.ConfigError
			require.ErrorAs(t, d.Validate(), &bad, "%s: %+v", field, d)
			require.True(t, bad.Has(field), "%s in %v", field, bad)
			for _, p := range bad.Problems {
				require.NotEmpty(t, p.Fix, p)
			}
		}
	}
	for _, d := range deviceKinds() {
		require.NoError(t, d.Validate(), d.ID)
	}
	require.NoError(t, Device{ID: strings.Repeat("x", 26), Disk: &Disk{Path: "/a", Format: "raw"}}.Validate())
	require.NoError(t, nic(ok, Forward{Port: 80, Guest: 80, Proto: "udp"}, Forward{Host: "0.0.0.0", Port: 80, Guest: 80}).Validate())
}

// deviceKinds is one device of each kind, with everything set.
func deviceKinds() []Device {
	return []Device{
		{ID: "blk", Disk: &Disk{Path: "/a,b.qcow2", Format: "qcow2", Serial: "S,1"}, Props: map[string]any{"num-queues": 2}, Bus: "p0"},
		{ID: "lun", Disk: &Disk{Path: "/a", Format: "raw", ReadOnly: true, Interface: DiskSCSI}},
		{ID: "fast", Disk: &Disk{Path: "/a", Format: "raw", Interface: DiskNVMe}},
		{ID: "net", NIC: &NIC{MAC: "52:54:00:00:00:01", Forwards: []Forward{{Port: 2222, Guest: 22}, {Host: "0.0.0.0", Port: 53, Guest: 53, Proto: "udp"}}}},
		{ID: "old", Driver: "e1000e", NIC: &NIC{}, Props: map[string]any{"romfile": "x"}},
		{ID: "sock", Serial: &SerialPort{Name: "org.example.a", Socket: "/run/s,1"}},
		{ID: "file", Serial: &SerialPort{Name: "org.example.b", File: "/f"}},
		{ID: "null", Serial: &SerialPort{Name: "org.example.c"}},
		{ID: "rng", RNG: &RNG{}},
		{ID: "dimm", Memory: &Memory{Size: 128 << 20}},
		{ID: "cpu", Driver: "max-x86_64-cpu", CPU: &CPU{}, Props: map[string]any{"core-id": 1}},
		{ID: "any", Driver: "virtio-scsi-pci", Props: map[string]any{"num_queues": 1}},
	}
}

// TestDeviceParts compares with what QEMU's commands take (QEMU QMP Reference Manual).
func TestDeviceParts(t *testing.T) {
	want := []string{
		`blockdev {"discard":"unmap","driver":"qcow2","file":{"discard":"unmap","driver":"file","filename":"/a,b.qcow2","node-name":"blk-file","read-only":false},"node-name":"blk","read-only":false}`,
		`device {"bus":"p0","drive":"blk","driver":"virtio-blk-pci","id":"blk","num-queues":2,"serial":"S,1"}`,
		`blockdev {"discard":"unmap","driver":"raw","file":{"discard":"unmap","driver":"file","filename":"/a","node-name":"lun-file","read-only":true},"node-name":"lun","read-only":true}`,
		`device {"drive":"lun","driver":"scsi-hd","id":"lun"}`,
		`blockdev {"discard":"unmap","driver":"raw","file":{"discard":"unmap","driver":"file","filename":"/a","node-name":"fast-file","read-only":false},"node-name":"fast","read-only":false}`,
		`device {"drive":"fast","driver":"nvme","id":"fast","serial":"fast"}`,
		`netdev {"hostfwd":[{"str":"tcp:127.0.0.1:2222-:22"},{"str":"udp:0.0.0.0:53-:53"}],"id":"net","type":"user"}`,
		`device {"driver":"virtio-net-pci","id":"net","mac":"52:54:00:00:00:01","netdev":"net","romfile":""}`,
		`netdev {"id":"old","type":"user"}`,
		`device {"driver":"e1000e","id":"old","netdev":"old","romfile":"x"}`,
		`chardev {"backend":{"data":{"addr":{"data":{"path":"/run/s,1"},"type":"unix"},"server":true,"wait":false},"type":"socket"},"id":"sock"}`,
		`device {"chardev":"sock","driver":"virtserialport","id":"sock","name":"org.example.a"}`,
		`chardev {"backend":{"data":{"append":true,"out":"/f"},"type":"file"},"id":"file"}`,
		`device {"chardev":"file","driver":"virtserialport","id":"file","name":"org.example.b"}`,
		`chardev {"backend":{"data":{},"type":"null"},"id":"null"}`,
		`device {"chardev":"null","driver":"virtserialport","id":"null","name":"org.example.c"}`,
		`object {"id":"rng","qom-type":"rng-builtin"}`,
		`device {"driver":"virtio-rng-pci","id":"rng","rng":"/objects/rng"}`,
		`object {"id":"dimm","qom-type":"memory-backend-ram","size":134217728}`,
		`device {"driver":"pc-dimm","id":"dimm","memdev":"/objects/dimm"}`,
		`device {"core-id":1,"driver":"max-x86_64-cpu","id":"cpu"}`,
		`device {"driver":"virtio-scsi-pci","id":"any","num_queues":1}`,
	}
	var got []string
	for _, d := range deviceKinds() {
		parts := d.Parts()
		for _, p := range parts {
			args, err := json.Marshal(p.Args)
			require.NoError(t, err)
			got = append(got, p.Option+" "+string(args))
			require.Equal(t, d.ID, p.name())
		}
		require.Equal(t, "device", parts[len(parts)-1].Option)
	}
	require.Equal(t, want, got)
}

// TestDeviceRecord: what is stored comes back the same.
func TestDeviceRecord(t *testing.T) {
	for _, d := range deviceKinds() {
		data, err := json.Marshal(d)
		require.NoError(t, err)
		var back Device
		require.NoError(t, json.Unmarshal(data, &back))
		require.NoError(t, back.Validate())
		again, err := json.Marshal(back)
		require.NoError(t, err)
		require.JSONEq(t, string(data), string(again))
		require.Equal(t, back, back.Clone())
	}
	data, err := json.Marshal(Device{ID: "d", Disk: &Disk{Path: "/a", Format: "raw", ReadOnly: true}})
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"d","disk":{"path":"/a","format":"raw","read_only":true}}`, string(data))
}
