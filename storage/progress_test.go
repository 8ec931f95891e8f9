package storage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type mark struct{ done, total int64 }

func TestPercent(t *testing.T) {
	var got []mark
	m := newMeter(func(done, total int64) { got = append(got, mark{done, total}) }, 1000, 24)
	w := &percentWriter{meter: m}
	for _, text := range []string{"    (0.00/100%)\r", "    (12.5", "0/100%)\r    (50.00/1", "00%)\r    (20.00/100%)\r", "noise\r\r(x/100%)\r(101/100%)\r(NaN/100%)\r"} {
		n, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.Len(t, text, n)
	}
	w.end()
	w.end()
	next := m.then(24)
	next.at(4)
	next.at(99)
	require.Equal(t, []mark{{0, 1024}, {125, 1024}, {500, 1024}, {1000, 1024}, {1004, 1024}, {1024, 1024}}, got)
	meter{}.at(5) // tells nobody
}

// FuzzPercent: whatever a program prints, the numbers stay within bounds and only grow.
func FuzzPercent(f *testing.F) {
	f.Add([]byte("    (12.34/100%)\r    (100.00/100%)\r"), 3)
	f.Add([]byte("(1e3/100%)\r(-0/\r(Inf/"), 1)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		last := int64(-1)
		w := &percentWriter{meter: newMeter(func(done, total int64) {
			require.Greater(t, done, last)
			require.LessOrEqual(t, done, total)
			last = done
		}, 1<<40)}
		cut = max(0, min(len(text), cut))
		for _, part := range [][]byte{text[:cut], text[cut:]} {
			_, err := w.Write(part)
			require.NoError(t, err)
		}
		require.LessOrEqual(t, len(w.line), 64)
	})
}
