package maqet_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
)

// everyDriver is a kernel with a driver for all of QEMU's devices: Debian's linux-image-amd64,
// unlike its cloud kernel.
func everyDriver(t *testing.T) vm.Boot {
	t.Helper()
	cache, err := kernel.DefaultCacheDir()
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(cache, "kernels-full", "x86_64", "*", "boot", "vmlinuz-*"))
	require.NoError(t, err)
	if len(found) == 0 {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			t.Fatal("the full kernel is needed")
		}
		t.Skip("the full kernel is needed (scripts/setup.sh --test)")
	}
	return vm.Boot{Kernel: found[0], Modules: filepath.Dir(filepath.Dir(found[0]))}
}

func TestTryHardware(t *testing.T) {
	m := open(t, shortDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	begun := time.Now()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/pw", []byte("geheim\n"), 0o600))
	mach := os.Getenv("TRY_MACHINE")
	cfg := vm.Config{Boot: everyDriver(t), Machine: mach, RNG: &vm.RNG{}, Balloon: &vm.Balloon{DeflateOnOOM: true}, Watchdog: &vm.Watchdog{Action: "pause"}, PVPanic: true,
		Display: vm.Display{Type: "vnc", PasswordFile: dir + "/pw"},
		Serials: []vm.Serial{{Name: "log", File: dir + "/log"}, {Name: "talk", Socket: "auto"}, {Type: "isa", PTY: true}, {Type: "isa", File: dir + "/ttyS2"}}}
	if mach != "microvm" {
		cfg.GenerationID, cfg.Tablet = "auto", true
	} else {
		cfg.Watchdog = &vm.Watchdog{Model: "ib700"}
	}
	g, err := m.Run(ctx, cfg)
	require.NoError(t, err)
	t.Log("up in ", time.Since(begun))
	inst, _ := g.Instance(ctx)
	t.Log(inst.Runtime.Sockets, inst.Runtime.Terminals)
	for _, c := range []string{"cat /sys/class/misc/hw_random/rng_available", "ls -l /dev/watchdog* /sys/class/watchdog", "lsmod", "ls /dev/virtio-ports", "cat /proc/bus/input/devices", "dmesg | grep -i 'vmgenid\\|ttyS\\|pvpanic\\|usb\\|random\\|crng'", "cat /proc/modules", "cat /sys/bus/*/devices/*/modalias | sort -u"} {
		res, err := g.Exec(ctx, "sh", "-c", c)
		t.Log(c, "\n", string(res.Stdout), err)
	}
	img, err := g.Screenshot(ctx)
	require.NoError(t, err)
	t.Log(img.Bounds())
	info, err := g.MemoryInfo(ctx)
	t.Log(info, err)
	b := time.Now()
	t.Log(g.SetMemory(ctx, 200<<20), time.Since(b))
	info, err = g.MemoryInfo(ctx)
	t.Log(info, err)
	out, err := g.QMP(ctx, "query-vm-generation-id", nil)
	t.Log(string(out), err)
	events, err := g.Events(ctx, "WATCHDOG", "STOP", "GUEST_PANICKED", "SHUTDOWN")
	require.NoError(t, err)
	_, err = g.Exec(ctx, "sh", "-c", "echo c > /proc/sysrq-trigger &")
	t.Log(err)
	for e := range events {
		t.Log(e.Name, string(e.Data))
	}
	now, err := g.Wait(ctx)
	t.Log(now.State, now.Reason, err)
}
