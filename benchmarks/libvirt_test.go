package benchmarks

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

// BenchmarkLibvirtStart compares the start of a VM on libvirt, from the call until its CPUs run,
// with `virsh define` and `virsh start` of the same XML, and with the two bare calls over a
// connection that is open. The VM is new each time. maqet's side has everything that a start
// checks and records, and its control and console channels; virsh's has two processes. Guests are
// ended before they have booted.
func BenchmarkLibvirtStart(b *testing.B) {
	daemon := libvirttest.Start(b)
	m := open(b, maqet.WithLibvirt(daemon.URI()))
	const name = "started"
	virsh := func(args ...string) string {
		out, err := exec.Command("virsh", append([]string{"-q", "-c", daemon.URI()}, args...)...).CombinedOutput()
		require.NoError(b, err, "%s", out)
		return string(out)
	}
	start := func() time.Duration {
		_, err := m.VM.Add(b.Context(), vm.Config{Name: name, Backend: "libvirt", Lifetime: vm.Persistent})
		require.NoError(b, err)
		begun := time.Now()
		inst, err := m.VM.Start(b.Context(), name)
		took := time.Since(begun)
		require.NoError(b, err)
		require.Equal(b, vm.Running, inst.State)
		return took
	}
	remove := func() {
		_, err := m.VM.Stop(b.Context(), name, vm.Force())
		require.NoError(b, err)
		require.NoError(b, m.VM.Remove(b.Context(), name))
	}
	start() // fills the caches: kernel, initrd, what this QEMU can do
	file := filepath.Join(b.TempDir(), "domain.xml")
	require.NoError(b, os.WriteFile(file, []byte(virsh("dumpxml", "--inactive", "--security-info", name)), 0o600))
	remove()
	xml, err := os.ReadFile(file)
	require.NoError(b, err)
	bare := daemon.Connect(b)
	end := func() {
		virsh("destroy", name)
		virsh("undefine", name)
	}
	took := inTurns(b, runs(b), side{"maqet", func(*testing.B) time.Duration {
		defer remove()
		return start()
	}}, side{"virsh", func(*testing.B) time.Duration {
		defer end()
		begun := time.Now()
		virsh("define", file)
		virsh("start", name)
		return time.Since(begun)
	}}, side{"calls", func(b *testing.B) time.Duration {
		defer end()
		begun := time.Now()
		domain, err := bare.DomainDefineXML(string(xml))
		require.NoError(b, err)
		require.NoError(b, bare.DomainCreate(domain))
		return time.Since(begun)
	}})
	b.ReportMetric(ms(took[0])/ms(took[1]), "maqet/virsh")
	b.ReportMetric(ms(took[0])/ms(took[2]), "maqet/calls")
}

// BenchmarkLibvirtQMP compares query-status of a guest on libvirt with the same of one that is a
// child process; a run is 100 of them, one after the other.
func BenchmarkLibvirtQMP(b *testing.B) {
	m := open(b, maqet.WithLibvirt(libvirttest.Start(b).URI()))
	ask := func(backend string) func(*testing.B) time.Duration {
		inst, err := m.VM.Add(b.Context(), vm.Config{Backend: backend})
		require.NoError(b, err)
		inst, err = m.VM.Start(b.Context(), inst.ID)
		require.NoError(b, err)
		require.NoError(b, m.QMP.Pause(b.Context(), inst.ID))
		return func(b *testing.B) time.Duration {
			begun := time.Now()
			for range 100 {
				_, err := m.QMP.Status(b.Context(), inst.ID)
				require.NoError(b, err)
			}
			return time.Since(begun)
		}
	}
	compare(b, side{"libvirt", ask("libvirt")}, side{"process", ask("process")})
}
