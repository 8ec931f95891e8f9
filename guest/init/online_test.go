package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnline: what a plugged CPU or memory block in sysfs is told.
func TestOnline(t *testing.T) {
	for name, c := range map[string]struct{ file, before, after string }{
		"offline CPU":    {"online", "0", "1"},
		"online CPU":     {"online", "1\n", "1\n"},
		"offline memory": {"state", "offline\n", "online_movable"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, c.file), c.before)
			online(dir)
			require.Equal(t, c.after, read(t, filepath.Join(dir, c.file)))
			require.NoFileExists(t, filepath.Join(dir, map[string]string{"online": "state", "state": "online"}[c.file]))
		})
	}
	online(t.TempDir()) // gone again already
}

// TestOnlineMemory: only blocks that are offline are touched.
func TestOnlineMemory(t *testing.T) {
	sys := t.TempDir()
	blocks := map[string]string{"memory0": "online\n", "memory32": "offline\n", "memory33": "offline\n"}
	for name, state := range blocks {
		write(t, filepath.Join(sys, "devices/system/memory", name, "state"), state)
	}
	onlineMemory(sys)
	for name, before := range blocks {
		want := before
		if before == "offline\n" {
			want = "online_movable"
		}
		require.Equal(t, want, read(t, filepath.Join(sys, "devices/system/memory", name, "state")), name)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
