package benchmarks

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// qemuKeyDelay is QEMU's own pause after each press and each release of send-key
// (ui/input.c, queue_kbd_delay_ms).
const qemuKeyDelay = 10 * time.Millisecond

// BenchmarkTyping types 200 small letters with Type, in one pass, and with QEMU's
// send-key, until the guest has read them all. Each pass must arrive whole. Also reported:
// how long Type alone takes in terms of the sum of QEMU's own delays for these keys, and
// how many letters arrive when send-key gets all of them at once, as it does from programs
// that don't know its limit.
func BenchmarkTyping(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Devices: []vm.Device{{Driver: "VGA"}}})
	require.NoError(b, err)
	shell := func(command string) string {
		res, err := g.Exec(b.Context(), "sh", "-c", command)
		require.NoError(b, err)
		return string(res.Stdout)
	}
	shell("(exec </dev/tty1; stty raw -echo; : >/tmp/typed; exec cat >>/tmp/typed) 2>/dev/null &")
	require.Eventually(b, func() bool { return strings.Contains(shell("ps"), "cat") }, time.Minute, 50*time.Millisecond)
	text := strings.Repeat("abcdefghijklmnopqrstuvwxyz", 8)[:200]
	delays := time.Duration(2*len(text)) * qemuKeyDelay

	var alone []time.Duration
	compare(b, side{"Type", func(b *testing.B) time.Duration {
		begun := time.Now()
		require.NoError(b, g.Type(b.Context(), text))
		alone = append(alone, time.Since(begun))
		arrive(b, shell, text)
		return time.Since(begun)
	}}, side{"send-key", func(b *testing.B) time.Duration {
		begun := time.Now()
		for i := range 2 { // more than some 170 at once it drops
			sendKey(b, g, text[100*i:100*i+100])
			arrive(b, shell, text[100*i:100*i+100])
		}
		return time.Since(begun)
	}})
	b.ReportMetric(ms(median(alone))/ms(delays), "of-delays-ratio")
	b.ReportMetric(float64(len(text)), "arrived")

	sendKey(b, g, text)
	time.Sleep(delays + 2*time.Second) // nothing says when it is done
	unpaced := strings.TrimSpace(shell("wc -c < /tmp/typed"))
	n, err := strconv.Atoi(unpaced)
	require.NoError(b, err)
	b.ReportMetric(float64(n), "send-key-arrived")
}

// sendKey sends each letter with QEMU's send-key, which answers before it is typed.
func sendKey(b *testing.B, g *maqet.Machine, text string) {
	b.Helper()
	for _, char := range text {
		_, err := g.QMP(b.Context(), "send-key", map[string]any{
			"keys": []map[string]string{{"type": "qcode", "data": string(char)}},
		})
		require.NoError(b, err)
	}
}

// arrive waits until the guest has read text, and nothing else, and forgets it.
func arrive(b *testing.B, shell func(string) string, text string) {
	b.Helper()
	got := ""
	for limit := time.Now().Add(20 * time.Second); len(got) < len(text) && time.Now().Before(limit); {
		got = shell("cat /tmp/typed")
	}
	require.Equal(b, text, got)
	shell(": > /tmp/typed")
}
