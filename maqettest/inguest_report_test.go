package maqettest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInsideReport: what a program prints in the guest becomes a test's log and result.
func TestInsideReport(t *testing.T) {
	for name, c := range map[string]struct{ printed, shown, result string }{
		"passes":   {"\x16=== RUN   A\n    a.go:1: log\n        more\n\x16--- PASS: A (0.00s)\n\x16=== NAME  \n\x16PASS\n", "a.go:1: log\n    more\n", "PASS"},
		"fails":    {"\x16=== RUN   A\n    a.go:1: bad\n\x16--- FAIL: A (1.00s)\n\x16FAIL\n", "a.go:1: bad\n", "FAIL"},
		"prints":   {"\x16=== RUN   A\nout\nbegun\x16--- PASS: A (0.00s)\n\x16PASS\n", "out\nbegun\n", "PASS"},
		"pretends": {"\x16=== RUN   A\n--- FAIL: A (0.00s)\n\x16--- PASS: A (0.00s)\n", "--- FAIL: A (0.00s)\n", "PASS"},
		"subtest":  {"\x16=== RUN   A\n\x16=== RUN   A/b\n\x16--- SKIP: A/b (0.00s)\n\x16=== NAME  A\n\x16--- PASS: A (0.00s)\n", "=== RUN   A/b\n--- SKIP: A/b (0.00s)\n", "PASS"},
		"coverage": {"coverage: of the test\n\x16--- PASS: A (0.00s)\n\x16PASS\ncoverage: 50% of statements\nTestMain\n", "coverage: of the test\nTestMain\n", "PASS"},
		"no end":   {"\x16=== RUN   A\npanic", "panic\n", ""},
		"another":  {"\x16=== RUN   AB\n\x16--- PASS: AB (0.00s)\n", "", ""},
		"nothing":  {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 7, 1000} {
				var out strings.Builder
				r := &insideReport{name: "A", out: &out}
				for rest := c.printed; rest != ""; {
					n, err := r.Write([]byte(rest[:min(piece, len(rest))]))
					require.NoError(t, err)
					rest = rest[n:]
				}
				r.flush()
				require.Equal(t, c.shown, out.String())
				require.Equal(t, c.result, r.result)
			}
		})
	}
	var out strings.Builder
	parent := &insideReport{name: "A/b", out: &out}
	_, err := parent.Write([]byte("\x16=== RUN   A\n\x16=== RUN   A/b\n\x16--- PASS: A/b (0.00s)\n\x16--- FAIL: A (0.00s)\n"))
	require.NoError(t, err)
	require.Equal(t, "--- FAIL: A (0.00s)\n", out.String())
	require.Equal(t, "PASS", parent.result)
}

func TestOnlyThis(t *testing.T) {
	require.Equal(t, `^A$`, onlyThis("A"))
	require.Equal(t, `^A$/^a\.b$/^\[c\]#01$`, onlyThis("A/a.b/[c]#01"))
}
