package qmp

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

const balloonBase = 256 << 20

// ballooned answers as a VM of 256 MiB whose balloon does what reply says.
func ballooned(t *testing.T, reply func(command string) string) (*Manager, *fake) {
	t.Helper()
	return managed(t, func(request string) string {
		for _, command := range []string{"query-memory-size-summary", "query-balloon", `"balloon"`} {
			if !strings.Contains(request, command) {
				continue
			}
			if answer := reply(strings.Trim(command, `"`)); answer != "" {
				return answer
			}
		}
		if strings.Contains(request, "query-memory-size-summary") {
			return fmt.Sprintf(`{"return": {"base-memory": %d, "plugged-memory": %d}}`, balloonBase, 128<<20)
		}
		return `{"return": {}}`
	})
}

func TestSetMemoryWaits(t *testing.T) {
	var looks atomic.Int64
	const want = 128 << 20
	m, _ := ballooned(t, func(command string) string {
		if command != "query-balloon" {
			return ""
		}
		now := balloonBase - looks.Add(1)*(32<<20) // the guest needs its time
		return fmt.Sprintf(`{"return": {"actual": %d}}`, max(now, want))
	})
	require.NoError(t, m.SetMemory(t.Context(), "web", want+1))
	require.GreaterOrEqual(t, looks.Load(), int64(4))
	info, err := m.MemoryInfo(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, MemoryInfo{Base: balloonBase, Plugged: 128 << 20, Guest: want, Balloon: true}, info)
}

// TestSetMemoryEnds: a guest that keeps its memory costs no more than the caller's time.
func TestSetMemoryEnds(t *testing.T) {
	m, _ := ballooned(t, func(command string) string {
		if command == "query-balloon" {
			return fmt.Sprintf(`{"return": {"actual": %d}}`, 200<<20)
		}
		return ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := m.SetMemory(ctx, "web", 64<<20)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, fmt.Sprint(200<<20), "how far it came")
}

func TestNoBalloon(t *testing.T) {
	m, _ := ballooned(t, func(command string) string {
		if command == "query-memory-size-summary" {
			return ""
		}
		return `{"error": {"class": "DeviceNotActive", "desc": "No balloon device has been activated"}}`
	})
	err := m.SetMemory(t.Context(), "web", 64<<20)
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.ErrorContains(t, err, "vm.Config.Balloon")
	info, err := m.MemoryInfo(t.Context(), "web")
	require.NoError(t, err)
	require.Equal(t, MemoryInfo{Base: balloonBase, Plugged: 128 << 20, Guest: balloonBase}, info)
	for _, size := range []int64{0, -4096, 4095, balloonBase + 4096} {
		require.ErrorIs(t, m.SetMemory(t.Context(), "web", size), errors.ErrInvalidConfiguration, size)
	}
}
