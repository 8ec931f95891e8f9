package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPowerLines(t *testing.T) {
	tree, sys := t.TempDir(), t.TempDir()
	put := func(path, data string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	}
	require.Empty(t, powerLines(tree, sys))
	put(tree+"/gpio-keys/poweroff/linux,code", "\x00\x00\x00\x74")
	require.Empty(t, powerLines(tree, sys), "without a line")
	put(tree+"/gpio-keys/poweroff/gpios", "\x00\x00\x80\x03\x00\x00\x00\x03\x00\x00\x00\x00")
	put(tree+"/gpio-keys/left/linux,code", "\x00\x00\x00\x69")
	put(tree+"/gpio-keys/left/gpios", "\x00\x00\x80\x03\x00\x00\x00\x05\x00\x00\x00\x00")
	put(sys+"/bus/gpio/devices/gpiochip0/of_node/phandle", "\x00\x00\x00\x01")
	require.Empty(t, powerLines(tree, sys), "of another chip")
	put(sys+"/bus/gpio/devices/gpiochip1/of_node/phandle", "\x00\x00\x80\x03")
	require.Equal(t, []powerLine{{chip: "/dev/gpiochip1", offset: 3}}, powerLines(tree, sys))
}
