package maqet_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocsShowTheExamples: a program that a page shows is the one that is compiled.
func TestDocsShowTheExamples(t *testing.T) {
	for page, program := range map[string]string{"docs/qmp.md": "examples/qmp/main.go"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		code, err := os.ReadFile(program)
		require.NoError(t, err)
		require.Contains(t, string(text), "```go\n"+string(code)+"```\n", "copy %s into %s", program, page)
	}
}
