package maqet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func TestLibvirtHostsThatCantBe(t *testing.T) {
	const uri = "qemu:///system"
	for name, tc := range map[string]struct {
		opts []maqet.Option
		want string
	}{
		"no name":         {[]maqet.Option{maqet.WithLibvirtHost("", uri)}, "libvirt[0].name: is empty"},
		"process":         {[]maqet.Option{maqet.WithLibvirtHost("process", uri)}, "means something else"},
		"any":             {[]maqet.Option{maqet.WithLibvirtHost("any", uri)}, "means something else"},
		"no backend name": {[]maqet.Option{maqet.WithLibvirtHost("a b", uri)}, "is no name that Config.Backend can have"},
		"twice":           {[]maqet.Option{maqet.WithLibvirtHost("a", uri), maqet.WithLibvirtHost("a", uri)}, `libvirt[1].name "a": is the name of another backend`},
		"libvirt twice":   {[]maqet.Option{maqet.WithLibvirt(uri), maqet.WithLibvirtHost("libvirt", uri)}, "is the name of another backend"},
		"another's":       {[]maqet.Option{maqet.WithBackend("own", struct{ vm.Backend }{}), maqet.WithLibvirtHost("own", uri)}, "is the name of another backend"},
		"no URI":          {[]maqet.Option{maqet.WithLibvirt("nonsense")}, "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := maqet.New(append(tc.opts, maqet.WithDir(shortDir(t)))...)
			require.ErrorIs(t, err, errors.ErrConfiguration)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// New connects to nothing, so that a host that is away hinders nobody.
func TestLibvirtHostsAreConnectedLater(t *testing.T) {
	m, err := maqet.New(maqet.WithDir(shortDir(t)),
		maqet.WithLibvirt("qemu:///system?socket=/nowhere/sock"), maqet.WithLibvirtHost("b", "qemu+tcp://192.0.2.1/system"))
	require.NoError(t, err)
	_, err = m.VM.Add(t.Context(), vm.Config{Backend: "b"})
	require.NoError(t, err)
	require.NoError(t, m.Close())
}
