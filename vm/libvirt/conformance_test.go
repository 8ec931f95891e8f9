package libvirt

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/backendtest"
)

// TestConformance: guests of libvirt's QEMU driver keep the promises of every backend.
func TestConformance(t *testing.T) {
	d := daemon.Get(t)
	backendtest.Run(t, backendtest.Options{
		Config: vm.Config{Backend: DefaultName},
		Lacks:  []backendtest.Feature{backendtest.Consoles},
		New: func(tb testing.TB) backendtest.Harness {
			kill := func(tb testing.TB, inst vm.Instance) {
				require.NoError(tb, d.Process(tb, inst.Name).Signal(unix.SIGKILL))
			}
			return conformanceHarness(tb, d, d.URI(), d.Driver(), kill)
		},
	})
}

// TestConformanceOfTestDriver: so do those of its test driver, which runs nothing, as far as they
// go.
func TestConformanceOfTestDriver(t *testing.T) {
	d := daemon.Get(t)
	const driver libvirt.ConnectURI = "test:///default"
	backendtest.Run(t, backendtest.Options{
		Config: vm.Config{Backend: DefaultName},
		Lacks: []backendtest.Feature{backendtest.QMP, backendtest.Channels, backendtest.Consoles, backendtest.Machines, backendtest.PC,
			backendtest.Panics, backendtest.System, backendtest.Causes},
		New: func(tb testing.TB) backendtest.Harness {
			kill := func(tb testing.TB, inst vm.Instance) {
				l := connectTo(tb, d, driver)
				dom, err := l.DomainLookupByUUID(libvirt.UUID(uuid.MustParse(inst.ID)))
				require.NoError(tb, err)
				require.NoError(tb, l.DomainDestroy(dom))
			}
			return conformanceHarness(tb, d, string(driver)+"?socket="+d.Socket(), driver, kill)
		},
	})
}

func conformanceHarness(tb testing.TB, d *libvirttest.Daemon, uri string, driver libvirt.ConnectURI,
	kill func(testing.TB, vm.Instance)) backendtest.Harness {
	logs := tb.TempDir()
	return backendtest.Harness{
		Open: func(tb testing.TB) vm.Backend {
			b, err := New(Options{URI: uri, LogDir: logs})
			require.NoError(tb, err)
			return b
		},
		Kill: kill,
		Left: func(tb testing.TB) (left []string) {
			l := connectTo(tb, d, driver)
			domains, _, err := l.ConnectListAllDomains(1, 0)
			require.NoError(tb, err)
			for _, dom := range domains {
				left = append(left, "domain "+dom.Name)
			}
			left = append(left, ofVMs(tb, l)...)
			require.NoError(tb, filepath.WalkDir(logs, func(path string, _ fs.DirEntry, err error) error {
				if path != logs && !strings.HasSuffix(path, ".lock") {
					left = append(left, path)
				}
				return err
			}))
			return left
		},
	}
}

// ofVMs lists the volumes that were made for VMs; what is kept for all of them does not count.
func ofVMs(tb testing.TB, l *libvirt.Libvirt) (list []string) {
	tb.Helper()
	if _, err := l.StoragePoolLookupByName(DefaultPool); hasCode(err, libvirt.ErrNoStoragePool) {
		return nil
	}
	for _, name := range volumesIn(tb, l, DefaultPool) {
		if !strings.HasPrefix(name, contentPrefix) {
			list = append(list, "volume "+name)
		}
	}
	return list
}

// connectTo opens another driver of the daemon.
func connectTo(tb testing.TB, d *libvirttest.Daemon, driver libvirt.ConnectURI) *libvirt.Libvirt {
	tb.Helper()
	conn, err := d.Dial()
	require.NoError(tb, err)
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
	require.NoError(tb, l.ConnectToURI(driver))
	tb.Cleanup(func() {
		_ = l.Disconnect()
		_ = conn.Close()
	})
	return l
}
