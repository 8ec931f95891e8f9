package vm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// longConfig returns two files of about a hundred lines each, the second of which changes
// part of the first.
func longConfig() (base, over string) {
	var b, o strings.Builder
	b.WriteString("name: bench\nmemory: 2G\ncpu:\n  cores: 2\n  threads: 2\nboot:\n  kernel: auto\n  initrd: auto\n  cmdline: quiet loglevel=4\n  files:\n    /etc/motd: files/motd\ndisks:\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  - name: disk%d\n    base: images/debian-%d.qcow2\n    size: %dG\n    serial: S%d\n", i, i, 10+i, i)
	}
	b.WriteString("networks:\n")
	for i := range 4 {
		fmt.Fprintf(&b, "  - name: net%d\n    mac: 52:54:00:00:00:0%d\n    forwards:\n      - {port: 22%02d, guest: 22}\n      - {port: 80%02d, guest: 80, proto: tcp}\n", i, i, i, i)
	}
	b.WriteString("devices:\n")
	for i := range 6 {
		fmt.Fprintf(&b, "  - driver: virtio-rng-pci # a comment\n    id: rng%d\n    props:\n      max-bytes: 1024\n      period: 1000\n", i)
	}
	b.WriteString("labels:\n  team: core\n  purpose: benchmark\n")
	o.WriteString("memory: 4G\nlifetime: persistent\ntimeouts:\n  ready: 2m\n  stop: 30s\ndisks:\n")
	for i := range 8 {
		fmt.Fprintf(&o, "  - name: disk%d\n    size: %dG\n    format: qcow2\n    keep: true\n", i, 20+i)
	}
	o.WriteString("  - name: scratch\n    size: 50G\nnetworks:\n  - name: net0\n    forwards: !replace\n      - {port: 2222, guest: 22}\n  - name: net3\n    remove: true\ndevices:\n")
	for i := range 6 {
		fmt.Fprintf(&o, "  - id: rng%d\n    props:\n      max-bytes: 2048\n", i)
	}
	o.WriteString("args:\n  - -rtc\n  - base=utc,clock=host\ncloud_init:\n  users:\n    - name: ann\n      ssh_keys: [ssh-ed25519 AAAA]\n  packages:\n    - curl\n    - git\nlabels:\n")
	for i := range 25 {
		fmt.Fprintf(&o, "  label%d: some value\n", i)
	}
	return b.String(), o.String()
}

// BenchmarkLoadConfig reads, merges and validates two files that have 200 lines together.
// The second one is what reading them costs that parser alone.
func BenchmarkLoadConfig(b *testing.B) {
	dir := b.TempDir()
	base, over := longConfig()
	lines := strings.Count(base+over, "\n")
	require.InDelta(b, 200, lines, 25)
	files := []string{filepath.Join(dir, "base.yaml"), filepath.Join(dir, "over.yaml")}
	require.NoError(b, os.WriteFile(files[0], []byte(base), 0o600))
	require.NoError(b, os.WriteFile(files[1], []byte(over), 0o600))
	b.Run("LoadConfig", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := vm.LoadConfig(files...); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(lines), "lines")
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					b.Fatal(err)
				}
				var m map[string]any
				if err := yaml.Unmarshal(data, &m); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
