package guest_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// TestForwardOnceCancelled: a forward that QEMU adds while nobody waits for it any more is
// removed again, or whoever is on the host could reach the guest by it.
func TestForwardOnceCancelled(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	v.inst.Config.Networks = []vm.Network{{Type: "user", Name: "lan"}}
	ctx, cancel := context.WithCancel(soon(t))
	rule := regexp.MustCompile(`hostfwd_(add|remove) lan (tcp:127\.0\.0\.1:[0-9]+)`)
	lines := make(chan []string, 10)
	v.monitor.answer = func(command string) string {
		if !strings.Contains(command, "human-monitor-command") {
			return `{"return":{}}`
		}
		lines <- rule.FindStringSubmatch(command)
		cancel()
		time.Sleep(300 * time.Millisecond) // QEMU is busy
		return `{"return":""}`
	}
	_, err := v.manager(t).SSH(ctx, "box", guest.WithKey(newKey(t)))
	require.ErrorIs(t, err, context.Canceled)
	added := <-lines
	require.Equal(t, "add", added[1])
	select {
	case removed := <-lines:
		require.Equal(t, []string{"remove", added[2]}, removed[1:])
	case <-soon(t).Done():
		t.Fatal("the forward stays")
	}
}
