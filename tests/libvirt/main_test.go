//go:build linux

package libvirt_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/libvirttest"
)

// inNetwork gives the tests a network with hosts.
type inNetwork struct{ m *testing.M }

func (n inNetwork) Run() int { return libvirttest.InNetwork(n.m.Run) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(inNetwork{m}) }

// open returns a Maqet whose hosts are called "one", "two" and so on, over a transport.
func open(t *testing.T, hosts []*libvirttest.Host, transport string) *maqet.Maqet {
	t.Helper()
	dir := t.TempDir()
	opts := []maqet.Option{maqet.WithDir(dir), maqet.WithLogger(slog.New(slog.NewTextHandler(testLog{t}, nil)))}
	for i, h := range hosts {
		opts = append(opts, maqet.WithLibvirtHost([]string{"one", "two"}[i], h.RemoteURI(t, transport)))
	}
	m, err := maqet.New(opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		logs, _ := filepath.Glob(filepath.Join(dir, "vms/*/console.log"))
		for _, l := range logs {
			text, _ := os.ReadFile(l)
			t.Logf("%s: %s", l, text)
		}
	})
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// testLog shows what was logged where a test fails, or with -v.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	_, err := os.Stderr.Write(p)
	return len(p), err
}

// within bounds a step: guests are emulated, and the machine may be busy.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
