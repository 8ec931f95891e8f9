package proc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21\n"
	for name, program := range map[string]string{
		"plain":       "7 (sleep)",
		"blanks":      "7 (a b c)",
		"parentheses": "7 (a) Z 1 (b))",
	} {
		t.Run(name, func(t *testing.T) {
			st, err := parseStat([]byte(program + tail))
			require.NoError(t, err)
			require.Equal(t, stat{state: 'S', start: 4242}, st)
			require.False(t, st.dead())
		})
	}
	for name, text := range map[string]string{
		"empty":    "",
		"no name":  "7 sleep S 1",
		"short":    "7 (sleep) S 1 2",
		"no state": "7 (sleep)",
		"no start": "7 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseStat([]byte(text))
			require.Error(t, err)
		})
	}
}
