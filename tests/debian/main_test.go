package debian_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a boot with cloud-init may take on an emulated processor that
// others use as well.
const patience = 15 * time.Minute

// image returns the path of the disk image.
func image(t *testing.T) string {
	t.Helper()
	script, err := filepath.Abs("../../scripts/debian-image.sh")
	require.NoError(t, err)
	out, err := exec.Command(script, "--path").Output()
	require.NoError(t, err)
	path := strings.TrimSpace(string(out))
	if _, err := os.Stat(path); err != nil {
		testhost.Lacks(t, "the Debian image is missing: run scripts/debian-image.sh, or scripts/setup.sh --test")
	}
	return path
}

// config is a guest on the image.
func config(t *testing.T) vm.Config {
	t.Helper()
	return vm.Config{
		CPU: vm.CPU{Count: 2}, Memory: 512 * vm.MiB, Disks: []vm.Disk{{Base: image(t)}}, Networks: []vm.Network{{}},
		Timeouts: vm.Timeouts{Ready: vm.Duration(patience), Silence: vm.Duration(patience), Stop: vm.Duration(5 * time.Minute)},
	}
}

// guestOf adds a guest and starts it. What the guest says on its console is logged when the
// test fails.
func guestOf(t *testing.T, cfg vm.Config, opts ...vm.StartOption) (*maqet.Maqet, *maqet.Machine) {
	t.Helper()
	dir, err := os.MkdirTemp("", "mqd-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	m, err := maqet.New(maqet.WithDir(dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	begun := time.Now()
	g, err := m.Run(t.Context(), cfg, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { logConsole(t, g) })
	t.Logf("ready after %v", time.Since(begun).Round(time.Millisecond))
	return m, g
}

func logConsole(t *testing.T, g *maqet.Machine) {
	if !t.Failed() {
		return
	}
	if c, err := g.Console(); err == nil {
		if text, err := c.Text(context.Background()); err == nil {
			t.Logf("console:\n%s", text[max(0, len(text)-4096):])
		}
	}
}

// run runs a program in the guest, which must succeed.
func run(t *testing.T, g *maqet.Machine, args ...string) string {
	t.Helper()
	res, err := g.Exec(t.Context(), args...)
	require.NoError(t, err)
	return strings.TrimSpace(string(res.Stdout))
}
