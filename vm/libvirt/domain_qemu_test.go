package libvirt

import (
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

const xmlID = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"

// xmlBackend returns a backend on the package's daemon.
func xmlBackend(t *testing.T) *Backend {
	t.Helper()
	b, err := New(Options{URI: daemon.Get(t).URI()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestDefaultDomainIsTaken(t *testing.T) {
	b := xmlBackend(t)
	cfg := vm.Config{Name: "xml-default", Networks: []vm.Network{{}}, Disks: []vm.Disk{{Size: vm.GiB}}}
	f, err := b.host.facts(t.Context(), cfg)
	require.NoError(t, err)
	dom, err := domainOf(rehearsal(xmlID, cfg), f)
	require.NoError(t, err)
	text, err := dom.Marshal()
	require.NoError(t, err)
	l := daemon.Get(t).Connect(t)
	d, err := l.DomainDefineXMLFlags(text, libvirt.DomainDefineValidate)
	require.NoError(t, err)
	back, err := l.DomainGetXMLDesc(d, 0)
	require.NoError(t, err)
	require.NoError(t, l.DomainUndefine(d))
	require.True(t, ours(back))
}
