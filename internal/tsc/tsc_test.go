//go:build linux

package tsc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMeasurementsAgree(t *testing.T) {
	first, ok := KHz()
	if !ok {
		t.Skip("this host has no constant time stamp counter")
	}
	second, ok := KHz()
	require.True(t, ok)
	require.InEpsilon(t, first, second, 0.01)
	require.Greater(t, first, 100_000, "slower than 100 MHz")
	require.Less(t, first, 10_000_000, "faster than 10 GHz")
}
