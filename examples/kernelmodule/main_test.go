package main

import (
	"bytes"
	"log"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/testhost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestModules runs the program.
func TestModules(t *testing.T) {
	_, err := exec.LookPath("qemu-system-" + kernel.HostArch())
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	dir, err := os.MkdirTemp("", "mqk-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), log.New(&out, "", 0), maqet.WithDir(dir)), out.String())
	t.Log(out.String())
	// Times differ, and which symbol the kernel misses first.
	said := regexp.MustCompile(`[0-9.]+m?s\b`).ReplaceAllString(out.String(), "TIME")
	said = regexp.MustCompile(`zs_\w+`).ReplaceAllString(said, "zs_SYMBOL")
	require.Equal(t, `booted in TIME

two RAM disks of 1 MiB (a fork after TIME)
  kernel: brd: module loaded
  /proc/modules: brd is Live
  1 0 1024 ram0
  1 1 1024 ram1

compressed memory, with the allocator that it needs (a fork after TIME)
  kernel: zram: Added device: zram0
  /proc/modules: zram is Live
  0

compressed memory, without it (a fork after TIME)
  insmod: can't insert '/tmp/zram.ko': unknown symbol in module, or unknown parameter
  kernel: zram: Unknown symbol zs_SYMBOL (err -2)

RAM disks, changed after they were signed (a fork after TIME)
  insmod: can't insert '/tmp/brd.ko': Key was rejected by service

a watchdog that nobody feeds (a fork after TIME)
  kernel: softdog: initialized. soft_noboot=0 soft_margin=1 sec soft_panic=1 (nowayout=0)
  /proc/modules: softdog is Live
  the guest panicked
`, said)
}
