package qmp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The short cuts for frequent frames understand what encoding/json understands, and
// nothing else.
func FuzzParse(f *testing.F) {
	for line := range strings.Lines(sessionText) {
		f.Add([]byte(strings.TrimSpace(line[2:])))
	}
	for _, seed := range []string{
		`{"return": {}, "return": 1}`, `{"return": {}, "event": "A"}`, `{"return": null}`, `{"return": 1 }`, `{"return": 1}}`,
		`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "A", "data": {"a": "}"}}`, `{"Event": "A"}`, `{"event": ""}`,
		`{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "A\u0042", "data": {}, "data": 1}`, `{"event": "A", "data": null}`,
		`{"timestamp": {"seconds": 1e3, "microseconds": 0}, "event": "A"}`, `{"timestamp": {"seconds": 01, "microseconds": 0}, "event": "A"}`,
		`{"timestamp": {"seconds": 99999999999999999999, "microseconds": 0}, "event": "A"}`, `{"error": {"class": "A", "desc": "\ud800"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame := bytes.Clone(data)
		var want, got message
		wantErr := json.Unmarshal(frame, &want)
		if wantErr == nil && want.QMP == nil && want.Event == "" && want.Return == nil && want.Error == nil {
			wantErr = json.Unmarshal([]byte("{"), &want)
		}
		err := got.parse(frame)
		require.Equal(t, wantErr == nil, err == nil, "%v, not %v", err, wantErr)
		if err != nil {
			return
		}
		for i := range frame { // the buffer is used again for the next frame
			frame[i] = '!'
		}
		require.Equal(t, want.Error, got.Error)
		require.Equal(t, string(want.Return), string(got.Return))
		require.Equal(t, want.QMP == nil, got.QMP == nil)
		require.Equal(t, string(want.ID), string(got.ID))
		if want.Event != "" {
			was, is := want.event(), got.event()
			require.Equal(t, was.Name, is.Name)
			require.Equal(t, string(was.Data), string(is.Data))
			require.WithinDuration(t, was.Time, is.Time, time.Minute)
		}
	})
}
