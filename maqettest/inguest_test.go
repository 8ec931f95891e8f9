package maqettest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInGuest(t *testing.T) {
	t.Parallel()
	InGuest(t)
	require.True(t, Inside())
}

func TestInGuestPass(t *testing.T) {
	t.Parallel()
	t.Run("a sub/[x]", func(t *testing.T) {
		InGuest(t)
		t.Log("in guest")
		t.Run("subsub", func(t *testing.T) { t.Log("hello") })
		b, _ := os.ReadFile("/proc/1/comm")
		require.Equal(t, "init\n", string(b))
	})
	t.Run("skip", func(t *testing.T) {
		InGuest(t)
		t.Skip("for this reason")
	})
}
