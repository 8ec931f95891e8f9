package qmp

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The short cuts must see what json.Unmarshal sees, or leave the frame to it.
func TestShortCutsReadWhatUnmarshalReads(t *testing.T) {
	for frame, short := range map[string]bool{
		stopEvent: true,
		`{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "A_1", "data": {"a": "}, \"event\": \"B\""}}`: true,
		`{"timestamp": {"seconds": 0, "microseconds": 999999}, "event": "A", "data": {}}`:                        true,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A", "data": null }`:                          true,
		// Not as QEMU writes it, or more than the short cut reads.
		`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "A"}`:                            false,
		`{"timestamp": {"seconds": 01, "microseconds": 2}, "event": "A"}`:                             false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A", "data": {}, "id": 1}`:         false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A\n"}`:                            false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A", "x": 1}`:                      false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A", "data": {}`:                   false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "", "data": {}}`:                   false,
		`{"event": "A", "timestamp": {"seconds": 1, "microseconds": 2}}`:                              false,
		`{"timestamp": {"seconds": 11111111111111111111, "microseconds": 2}, "event": "A"}`:           false,
		`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "A", "data": {}, "data": {"b":1}}`: false,
	} {
		var quick message
		require.Equal(t, short, quick.parseEvent([]byte(frame)), frame)
		if !short {
			continue
		}
		var whole message
		require.NoError(t, json.Unmarshal([]byte(frame), &whole), frame)
		quick.names = nil
		require.Equal(t, whole, quick, frame)
	}
}

func TestEventNamesAreBounded(t *testing.T) {
	var m message
	for i := range 2 * mostNames {
		require.NoError(t, m.parse(fmt.Appendf(nil, `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "E%d"}`, i)))
		require.Equal(t, fmt.Sprintf("E%d", i), m.Event)
	}
	require.Len(t, m.names, mostNames)
}

func BenchmarkParseEvent(b *testing.B) {
	frame := []byte(`{"timestamp": {"seconds": 1700000000, "microseconds": 500000}, "event": "JOB_STATUS_CHANGE", "data": {"status": "running", "id": "job0"}}`)
	var m message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.parse(frame); err != nil {
			b.Fatal(err)
		}
	}
}
