package qapi_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp/qapi"
)

// roundTrip checks that value marshals to text, and text unmarshals to value.
func roundTrip[T any](t *testing.T, value T, text string) {
	t.Helper()
	out, err := json.Marshal(value)
	require.NoError(t, err)
	require.JSONEq(t, text, string(out))
	var back T
	require.NoError(t, json.Unmarshal([]byte(text), &back))
	require.Equal(t, value, back)
}

// Unions of other libraries call their own MarshalJSON until the stack is full; these
// come back, nested ones too.
func TestUnionsRoundTrip(t *testing.T) {
	roundTrip(t, qapi.BlockdevOptions{
		Driver: "qcow2", NodeName: "top", Cache: &qapi.BlockdevCacheOptions{Direct: true},
		File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{
			Driver: "luks", Props: map[string]any{"key-secret": "s0"},
			File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: "file", Filename: "/x"}},
		}},
		Backing: &qapi.BlockdevRef{Node: "base"},
		Props:   map[string]any{"lazy-refcounts": true, "l2-cache-size": json.Number("9007199254740993")},
	}, `{"driver": "qcow2", "node-name": "top", "cache": {"direct": true}, "lazy-refcounts": true,
		"file": {"driver": "luks", "key-secret": "s0", "file": {"driver": "file", "filename": "/x"}},
		"backing": "base", "l2-cache-size": 9007199254740993}`)
	roundTrip(t, qapi.BlockdevCreateOptions{
		Driver: "qcow2", Size: 1 << 30, File: &qapi.BlockdevRef{Node: "f"}, Props: map[string]any{"preallocation": "off"},
	}, `{"driver": "qcow2", "size": 1073741824, "file": "f", "preallocation": "off"}`)
	roundTrip(t, qapi.DeviceAddArgs{Driver: "usb-tablet"}, `{"driver": "usb-tablet"}`)
	roundTrip(t, qapi.ObjectOptions{QOMType: "rng-random", ID: "r", Props: map[string]any{"filename": "/dev/urandom"}},
		`{"qom-type": "rng-random", "id": "r", "filename": "/dev/urandom"}`)
	roundTrip(t, qapi.Netdev{Type: "stream", ID: "n", Props: map[string]any{"server": true, "addr": map[string]any{"type": "fd", "str": "f"}}},
		`{"type": "stream", "id": "n", "server": true, "addr": {"type": "fd", "str": "f"}}`)

	roundTrip(t, qapi.SocketAddress{Type: "inet", Host: "::1", Port: "1", IPv4: new(false)},
		`{"type": "inet", "host": "::1", "port": "1", "ipv4": false}`)
	roundTrip(t, qapi.ChardevBackend{Type: "socket", Data: qapi.ChardevSocket{
		Addr: qapi.SocketAddressLegacy{Type: "vsock", CID: "2", Port: "9"}, Server: new(false),
	}}, `{"type": "socket", "data": {"addr": {"type": "vsock", "data": {"cid": "2", "port": "9"}}, "server": false}}`)
	roundTrip(t, qapi.MigrationAddress{Transport: "socket", SocketAddress: &qapi.SocketAddress{Type: "unix", Path: "/x"}},
		`{"transport": "socket", "type": "unix", "path": "/x"}`)
	roundTrip(t, qapi.MigrationAddress{Transport: "file", Filename: "/x", Offset: new(uint64(0))},
		`{"transport": "file", "filename": "/x", "offset": 0}`)
	roundTrip(t, qapi.MigrationAddress{Transport: "exec", Args: []string{"cat"}}, `{"transport": "exec", "args": ["cat"]}`)

	roundTrip(t, qapi.InputEvent{Type: "key", Data: qapi.InputKeyEvent{Key: qapi.KeyValue{QCode: "a"}}},
		`{"type": "key", "data": {"key": {"type": "qcode", "data": "a"}, "down": false}}`)
	roundTrip(t, qapi.InputEvent{Type: "mtt", Data: qapi.InputMultiTouchEvent{Type: "begin", Axis: "x"}},
		`{"type": "mtt", "data": {"type": "begin", "slot": 0, "tracking-id": 0, "axis": "x", "value": 0}}`)
	roundTrip(t, qapi.KeyValue{Number: 30}, `{"type": "number", "data": 30}`)
	roundTrip(t, qapi.TransactionAction{Type: "block-dirty-bitmap-merge", Data: qapi.BlockDirtyBitmapMergeArgs{
		Node: "n", Target: "t", Bitmaps: []qapi.BlockDirtyBitmapOrStr{{Name: "a"}, {Node: "m", Name: "b"}},
	}}, `{"type": "block-dirty-bitmap-merge", "data": {"node": "n", "target": "t", "bitmaps": ["a", {"node": "m", "name": "b"}]}}`)
	roundTrip(t, qapi.MemoryDeviceInfo{Type: "virtio-pmem", Data: qapi.VirtioPMEMDeviceInfo{ID: "p", Size: 1}},
		`{"type": "virtio-pmem", "data": {"id": "p", "memaddr": 0, "size": 1, "memdev": ""}}`)
	roundTrip(t, qapi.ImageInfoSpecific{Type: "qcow2", Data: qapi.ImageInfoSpecificQCow2{
		Compat: "1.1", RefcountBits: 16, CompressionType: "zlib",
		Encrypt: &qapi.ImageInfoSpecificQCow2Encryption{Format: "aes"},
	}}, `{"type": "qcow2", "data": {"compat": "1.1", "refcount-bits": 16, "compression-type": "zlib", "encrypt": {"format": "aes"}}}`)
	roundTrip(t, []qapi.StatsValue{{Scalar: new(uint64(0))}, {List: []uint64{1, 2}}, {Boolean: new(false)}}, `[0, [1, 2], false]`)
	roundTrip(t, []qapi.BlockdevRef{{}, {Node: "n"}}, `[null, "n"]`)
}

// Values of newer versions are no errors, and branches that are not known stay as they
// are.
func TestUnknownValues(t *testing.T) {
	var status qapi.StatusInfo
	require.NoError(t, json.Unmarshal([]byte(`{"status": "dreaming", "running": true, "mood": 7}`), &status))
	require.Equal(t, qapi.StatusInfo{Status: "dreaming", Running: true}, status)
	var capabilities []qapi.MigrationCapabilityStatus
	require.NoError(t, json.Unmarshal([]byte(`[{"capability": "teleport", "state": true}]`), &capabilities))
	require.EqualValues(t, "teleport", capabilities[0].Capability)
	roundTrip(t, qapi.MemoryDeviceInfo{Type: "cxl", Data: json.RawMessage(`{"id":"c"}`)}, `{"type": "cxl", "data": {"id":"c"}}`)
	roundTrip(t, qapi.InputEvent{Type: "gesture", Data: json.RawMessage(`{"x":[1]}`)}, `{"type": "gesture", "data": {"x":[1]}}`)
	roundTrip(t, qapi.ImageInfoSpecific{Type: "zip", Data: json.RawMessage(`{}`)}, `{"type": "zip", "data": {}}`)
}

func TestUnionsThatAreNone(t *testing.T) {
	for _, text := range []string{`7`, `"x"`, `[]`, `{"type": 7}`, `{"type": "key", "data": 7}`, `{"type": "key", "data": {"down": 7}}`} {
		var e qapi.InputEvent
		require.Error(t, json.Unmarshal([]byte(text), &e), text)
	}
	var e qapi.InputEvent
	require.NoError(t, json.Unmarshal([]byte(`{"type": "key"}`), &e))
	require.Equal(t, qapi.InputEventKind("key"), e.Type)
	for _, text := range []string{`7`, `{}`, `[`} {
		require.Error(t, json.Unmarshal([]byte(text), &[]qapi.SocketAddressLegacy{}), text)
		require.Error(t, json.Unmarshal([]byte(text), &[]qapi.KeyValue{}), text)
		require.Error(t, json.Unmarshal([]byte(text), &[]qapi.DeviceAddArgs{}), text)
	}
	_, err := json.Marshal(qapi.BlockdevRef{Node: "n", Options: &qapi.BlockdevOptions{Driver: "file"}})
	require.ErrorContains(t, err, "both Node and Options")

	ring := &qapi.BlockdevOptions{Driver: "raw"}
	ring.File = &qapi.BlockdevRef{Options: ring}
	_, err = json.Marshal(ring)
	require.ErrorContains(t, err, "circle")
	deep := &qapi.BlockdevOptions{Driver: "raw"}
	for range 200 {
		deep = &qapi.BlockdevOptions{Driver: "raw", File: &qapi.BlockdevRef{Options: deep}}
	}
	_, err = json.Marshal(deep)
	require.NoError(t, err)
}
