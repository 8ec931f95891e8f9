package qmp

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An agent was killed while it answered a sync: the next answer follows on the same line.
func TestAgentSyncAfterHalfASync(t *testing.T) {
	a, server := agentPair(t)
	got := ask(t.Context(), a, "guest-ping")
	id := server.sync()
	server.write("\xff{\"return\": 12\xff{\"return\": " + id + "}\n")
	server.expect(`{"execute":"guest-ping"}`)
	server.write("{\"return\": {}}\n")
	require.NoError(t, soon(t, got).err)
}
