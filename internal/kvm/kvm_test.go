package kvm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessorFlags(t *testing.T) {
	for text, ok := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vme vmx aes\n": true,
		"flags : fpu svm\n":                            true,
		"flags : fpu vmx_not svmx\n":                   false,
		"vmx flags\t: vnmi\nflags\t: fpu\n":            false,
		"bugs : vmx\nflags\t: fpu\n":                   false,
		"":                                             false,
		"processor : 0\n":                              false,
		"flags : " + strings.Repeat("x ", 50_000) + "vmx\nx : y": true,
	} {
		file := filepath.Join(t.TempDir(), "cpuinfo")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		if ok {
			require.NoError(t, checkFlags(file), "%.40q", text)
		} else {
			require.Error(t, checkFlags(file), "%.40q", text)
		}
	}
	require.Error(t, checkFlags("/nowhere"))
}
