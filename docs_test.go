package maqet_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocsShowTheExamples: a program that a page shows is the one that is compiled.
func TestDocsShowTheExamples(t *testing.T) {
	for page, program := range map[string]string{"docs/qmp.md": "examples/qmp/main.go", "docs/forking.md": "examples/forks/main.go",
		"docs/libvirt.md": "examples/libvirt/main.go"} {
		require.Contains(t, read(t, page), "```go\n"+read(t, program)+"```\n", "copy %s into %s", program, page)
	}
}

// TestDocsQuoteTheExamples: so is the code that a page quotes parts of.
func TestDocsQuoteTheExamples(t *testing.T) {
	code := ""
	for _, file := range []string{"examples/forks/main.go", "examples/forktests/kv/main_test.go", "examples/forktests/kv/kv_test.go",
		"examples/inguest/inguest_test.go"} {
		code += read(t, file)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "docs/forking.md"), -1)
	require.NotEmpty(t, blocks)
	for _, b := range blocks {
		require.Contains(t, code, b[1], "the examples have it no more: copy what they have into docs/forking.md")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
