package qmp

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// Whatever a peer sends and however it is cut: the same frames, none longer than the
// limit, and messages that are exactly one of the four sorts.
func FuzzFrames(f *testing.F) {
	const limit = 1 << 10
	for _, seed := range []string{
		greeting + "\r\n" + stopEvent + "\r\n", `{"return": {}}`, "\n\n \r\n", `{"id": 1, "return": null}` + "\n",
		`{"error": {"class": "GenericError", "desc": "x"}}` + "\n", "\xff{\"return\": 5}\n", `{"event": "A"` + "\n}",
		string(bytes.Repeat([]byte("x"), limit+1)),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, wholeErr := readAll(t, bytes.NewReader(data), limit)
		cut, cutErr := readAll(t, iotest.OneByteReader(bytes.NewReader(data)), limit)
		require.Equal(t, whole, cut)
		require.Equal(t, wholeErr, cutErr)
		for _, frame := range whole {
			require.LessOrEqual(t, len(frame), limit)
			var m message
			if m.parse(frame) != nil {
				continue
			}
			require.True(t, json.Valid(frame))
			require.True(t, m.QMP != nil || m.Event != "" || m.Return != nil || m.Error != nil)
			_ = m.event()
		}
	})
}

func readAll(t *testing.T, r io.Reader, limit int) (frames [][]byte, err error) {
	f := newFrameReader(r, limit)
	for {
		frame, err := f.next()
		if err != nil {
			return frames, err
		}
		require.NotEmpty(t, frame)
		frames = append(frames, bytes.Clone(frame))
	}
}

func FuzzCommandName(f *testing.F) {
	rule := regexp.MustCompile(`^(__[a-z0-9.-]+_)?[a-z][a-z0-9_-]*$`)
	for _, seed := range []string{"query-status", "x\n", "__com.redhat_x", "___a", "__a__b", "__.-_a", "_a", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		require.Equal(t, rule.MatchString(name), validCommand(name), "%q", name)
	})
}
