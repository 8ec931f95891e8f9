package qmp

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each command of the known QEMUs has a class by name: none is privileged only because
// nobody has thought about it.
func TestPolicyListsAllCommands(t *testing.T) {
	for _, version := range []string{"7.2", "10.0"} {
		text, err := os.ReadFile("qapi/testdata/commands-" + version + ".txt")
		require.NoError(t, err)
		commands := strings.Fields(string(text))
		require.Greater(t, len(commands), 200)
		for _, command := range commands {
			_, listed := classify(command)
			require.True(t, listed, "QEMU %s: %s is in no class of policy_commands.go", version, command)
			require.True(t, validCommand(command), command)
		}
	}
}

// A command is in one class alone: what a list says counts, whatever the order of the
// lists.
func TestPolicyListsCommandsOnce(t *testing.T) {
	for _, version := range []string{"7.2", "10.0"} {
		text, err := os.ReadFile("qapi/testdata/commands-" + version + ".txt")
		require.NoError(t, err)
		for _, command := range strings.Fields(string(text)) {
			n := 0
			for _, in := range []func(string) bool{isReadOnly, isNormal, isPrivileged, isDangerous} {
				if in(command) {
					n++
				}
			}
			require.LessOrEqual(t, n, 1, command)
		}
	}
}
