package maqettest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

func TestWithoutQEMU(t *testing.T) {
	ownTemp(t)
	t.Setenv("MAQET_QEMU", "/nowhere/qemu-system-x86_64")
	for _, require1 := range []bool{false, true} {
		t.Setenv("MAQET_REQUIRE", map[bool]string{true: "1"}[require1])
		r := record(t, func(r *recorder) {
			Boot(r)
			t.Error("Boot went on")
		})
		require.Equal(t, require1, r.failed)
		require.Equal(t, !require1, r.skipped)
		require.Contains(t, r.log.String(), "/nowhere/qemu-system-x86_64", "the reason")
		require.Contains(t, r.log.String(), "MAQET_QEMU", "what to do")
	}
}

func TestWrongConfig(t *testing.T) {
	ownTemp(t)
	r := record(t, func(r *recorder) { Boot(r, Config(vm.Config{Name: "no/name"})) })
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "no/name")
}

// TestBootFails: QEMU ends at once. The log says why, the artifacts are there, and
// nothing else is.
func TestBootFails(t *testing.T) {
	ownTemp(t)
	needQEMU(t)
	r := record(t, func(r *recorder) {
		Boot(r, Config(vm.Config{Name: "odd", Args: []string{"-device", "no-such-device"}}))
		t.Error("Boot went on")
	})
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "step handshake")
	require.Contains(t, r.log.String(), "the end of odd's QEMU")
	for _, name := range []string{"qemu.log", "qemu-args.txt", "config.json"} {
		require.Contains(t, artifact(t, r, "odd", name), "no-such-device")
	}
	requireNoQEMU(t, os.TempDir())
}

// TestFailure boots a guest in which a program fails.
func TestFailure(t *testing.T) {
	needQEMU(t)
	var dir string
	var inst vm.Instance
	r := record(t, func(r *recorder) {
		g := Boot(r, Memory(192*vm.MiB), func(o *options) { o.config.Devices = []vm.Device{{Driver: "VGA"}} })
		var err error
		inst, err = g.Instance(t.Context())
		require.NoError(t, err)
		dir = inst.Runtime.Dir
		_, err = g.QMP(t.Context(), "query-name", nil)
		require.NoError(t, err)
		require.Equal(t, "fine\n", string(g.Run("echo", "fine").Stdout))
		require.False(t, r.failed)
		g.Run("sh", "-c", "echo oops >&2; exit 3")
		t.Error("Run went on")
	})
	require.True(t, r.failed)
	log := r.log.String()
	require.Contains(t, log, "is ready after")
	require.Contains(t, log, "exit status 3")
	require.Contains(t, log, "oops")
	require.Contains(t, log, "the end of "+inst.Name+"'s console")

	require.NotEmpty(t, artifact(t, r, inst.Name, "console.log"))
	artifact(t, r, inst.Name, "qemu.log")
	require.True(t, strings.HasPrefix(artifact(t, r, inst.Name, "screen.png"), "\x89PNG"))
	require.Contains(t, artifact(t, r, inst.Name, "qmp.log"), `-> {"execute":"query-name"}`)
	require.Contains(t, artifact(t, r, inst.Name, "qemu-args.txt"), inst.ID)
	var cfg vm.Config
	require.NoError(t, json.Unmarshal([]byte(artifact(t, r, inst.Name, "config.json")), &cfg))
	require.Equal(t, 192*vm.MiB, cfg.Memory)

	require.NoDirExists(t, dir)
	requireNoQEMU(t, inst.ID)
	requireBoots(t, artifact(t, r, inst.Name, "reproduce.sh"))
}

func artifact(t *testing.T, r *recorder, vmName, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.artifacts, vmName, name))
	require.NoError(t, err)
	return string(data)
}

// TestPersistent: a guest that would go on ends with its test all the same.
func TestPersistent(t *testing.T) {
	needQEMU(t)
	ownTemp(t)
	var id string
	r := record(t, func(r *recorder) {
		id = Boot(r, unbooted(), Config(vm.Config{Lifetime: vm.Persistent})).ID()
	})
	require.False(t, r.failed, r.log.String())
	requireNoQEMU(t, id)
}

// TestParallel boots two guests at once.
func TestParallel(t *testing.T) {
	needQEMU(t)
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := Boot(t, Config(vm.Config{Name: "same"}))
			g.WriteFile("/tmp/who", []byte(name), 0o600)
			require.Equal(t, name, string(g.Run("cat", "/tmp/who").Stdout))
		})
	}
}

// needQEMU skips a test that can't run here, as Boot would.
func needQEMU(t *testing.T) {
	t.Helper()
	if os.Getenv("MAQET_REQUIRE") == "1" {
		return
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil && os.Getenv("MAQET_QEMU") == "" {
		t.Skipf("no QEMU: %v", err)
	}
}
