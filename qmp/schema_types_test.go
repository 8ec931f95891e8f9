package qmp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTypesOfArguments(t *testing.T) {
	_, c := startQEMU(t)
	s, err := ReadSchema(within(t, 30*time.Second), c)
	require.NoError(t, err)
	for _, has := range []struct {
		command, argument string
		types             []string
	}{
		{"set_link", "name", []string{"str"}},
		{"set_link", "up", []string{"bool"}},
		{"screendump", "head", []string{"int"}},
		{"screendump", "format", []string{"str"}}, // an enumeration
		{"block_resize", "size", []string{"int"}},
		{"qom-set", "value", []string{"any"}},
		{"input-send-event", "events", []string{"array"}},
		{"blockdev-add", "cache", []string{"object"}},
		{"blockdev-add", "cache.no-flush", []string{"bool"}},
		{"blockdev-add", "backing", []string{"null", "object", "str"}}, // alternates
		{"blockdev-add", "nothing", nil},
		{"device_add", "max-bytes", nil}, // QEMU checks it by itself
		{"no-such-command", "x", nil},
	} {
		require.Equal(t, has.types, s.TypesOf(has.command, has.argument), "%s %s", has.command, has.argument)
	}
	require.Empty(t, (&Schema{}).TypesOf("a", "b"))
}
