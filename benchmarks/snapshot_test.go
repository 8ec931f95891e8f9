package benchmarks

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// BenchmarkMemorySnapshot compares a Create and a Load of a live guest of 256 MiB with one
// qcow2 disk: with QEMU's jobs driven by hand on the same guest, and with virsh
// snapshot-create-as and snapshot-revert on a guest of the same kernel, initrd and size under
// a libvirtd of its own. The deletions in between are not counted.
func BenchmarkMemorySnapshot(b *testing.B) {
	m := open(b)
	g, err := m.Run(b.Context(), vm.Config{Memory: 256 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB}}})
	require.NoError(b, err)
	ours := side{"maqet", func(b *testing.B) time.Duration {
		begun := time.Now()
		_, err := g.Snapshot(b.Context(), "it")
		require.NoError(b, err)
		require.NoError(b, g.Load(b.Context(), "it"))
		took := time.Since(begun)
		_, err = g.Exec(b.Context(), "true")
		require.NoError(b, err)
		require.NoError(b, g.DeleteSnapshot(b.Context(), "it"))
		return took
	}}
	b.Run("jobs", func(b *testing.B) {
		conn, err := m.VM.QMP(b.Context(), g.ID())
		require.NoError(b, err)
		compare(b, ours, side{"jobs", func(b *testing.B) time.Duration { return bareSnapshot(b, conn) }})
	})
	b.Run("virsh", func(b *testing.B) {
		v := startVirsh(b, m, g.ID())
		compare(b, ours, side{"virsh", v.snapshot})
	})
}

// bareSnapshot saves and loads a guest with as few commands as can be.
func bareSnapshot(b *testing.B, conn qmp.Conn) time.Duration {
	args := func(job string) map[string]any {
		return map[string]any{"job-id": job, "tag": "bare", "vmstate": "data", "devices": []string{"data"}}
	}
	begun := time.Now()
	bareJob(b, conn, "snapshot-save", args("save"))
	bareJob(b, conn, "snapshot-load", args("load"))
	took := time.Since(begun)
	remove := args("delete")
	delete(remove, "vmstate")
	bareJob(b, conn, "snapshot-delete", remove)
	return took
}

// bareJob runs a job to its end and dismisses it.
func bareJob(b *testing.B, conn qmp.Conn, command string, args map[string]any) {
	b.Helper()
	sub := conn.Subscribe("JOB_STATUS_CHANGE")
	defer sub.Close()
	_, err := conn.Execute(b.Context(), command, args)
	require.NoError(b, err)
	for ev := range sub.C() {
		var change struct{ ID, Status string }
		require.NoError(b, ev.Decode(&change))
		if change.Status == "concluded" {
			break
		}
	}
	raw, err := conn.Execute(b.Context(), "query-jobs", nil)
	require.NoError(b, err)
	var list []struct{ ID, Error string }
	require.NoError(b, json.Unmarshal(raw, &list))
	require.Len(b, list, 1)
	require.Empty(b, list[0].Error)
	_, err = conn.Execute(b.Context(), "job-dismiss", map[string]any{"id": list[0].ID})
	require.NoError(b, err)
}

// virshGuest is a guest under libvirt.
type virshGuest struct{ uri string }

// startVirsh boots the guest of a VM under libvirt.
func startVirsh(b *testing.B, m *maqet.Maqet, id string) virshGuest {
	b.Helper()
	inst, err := m.VM.Get(b.Context(), id)
	require.NoError(b, err)
	dir := b.TempDir()
	require.NoError(b, os.Chmod(dir, 0o755))
	disk, console, domain := filepath.Join(dir, "data.qcow2"), filepath.Join(dir, "console"), filepath.Join(dir, "domain.xml")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", disk, "64M").CombinedOutput()
	require.NoError(b, err, "%s", out)
	require.NoError(b, os.WriteFile(domain, fmt.Appendf(nil, `<domain type='qemu'>
		<name>box</name><memory unit='MiB'>256</memory><cpu mode='maximum'/>
		<os><type arch='x86_64' machine='q35'>hvm</type><kernel>%s</kernel><initrd>%s</initrd><cmdline>%s</cmdline></os>
		<features><acpi/></features>
		<devices><emulator>%s</emulator><memballoon model='none'/>
			<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/></disk>
			<serial type='file'><source path='%s'/></serial>
			<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
		</devices>
	</domain>`, argument(b, inst.Runtime.Args, "-kernel"), argument(b, inst.Runtime.Args, "-initrd"),
		argument(b, inst.Runtime.Args, "-append"), inst.Runtime.Args[0], disk, console), 0o600))
	v := virshGuest{uri: libvirttest.Start(b).URI()}
	v.run(b, "define", domain)
	v.run(b, "start", "box")
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	for text := ""; !strings.Contains(text, "maqet-init: ready"); { // a file of another program's: there is no event of ours
		data, _ := os.ReadFile(console)
		text = string(data)
		require.NoError(b, ctx.Err(), text)
		time.Sleep(50 * time.Millisecond)
	}
	return v
}

func (v virshGuest) run(b *testing.B, args ...string) {
	b.Helper()
	out, err := exec.Command("virsh", append([]string{"-q", "-c", v.uri}, args...)...).CombinedOutput()
	require.NoError(b, err, "%s", out)
}

func (v virshGuest) snapshot(b *testing.B) time.Duration {
	begun := time.Now()
	v.run(b, "snapshot-create-as", "box", "it")
	v.run(b, "snapshot-revert", "box", "it")
	took := time.Since(begun)
	v.run(b, "snapshot-delete", "box", "it")
	return took
}
