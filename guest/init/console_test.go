package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsoles(t *testing.T) {
	require.Equal(t, []string{"/dev/tty0", "/dev/ttyS0"}, consoles("tty0 ttyS0"))
	require.Equal(t, []string{"/dev/hvc0"}, consoles("hvc0"))
	require.Empty(t, consoles(""))
}
