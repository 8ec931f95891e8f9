package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseShare(t *testing.T) {
	for text, want := range map[string]share{
		"virtiofs,ro,data,/mnt/data":           {fstype: "virtiofs", tag: "data", target: "/mnt/data"},
		"9p,rw,a%2Cb%20%C3%BC%25,/srv/%3D%22x": {fstype: "9p", tag: "a,b ü%", target: `/srv/="x`, writable: true},
		"9p,ro,,/":                             {fstype: "9p", target: "/"},
	} {
		got, err := parseShare(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "9p", "9p,ro,tag", "9p,ro,tag,/mnt,more", "9p,ro,%,/mnt", "9p,ro,%2,/mnt", "9p,ro,tag,/%zz"} {
		_, err := parseShare(text)
		require.Error(t, err, text)
	}
}

// TestMountFails: without a device and rights there is an error, which names the kernel's
// lack where it is one.
func TestMountFails(t *testing.T) {
	err := share{fstype: "nosuchfs", tag: "x", target: t.TempDir() + "/m"}.mount()
	require.Error(t, err)
	require.Error(t, share{fstype: "nosuchfs", tag: "x", target: "/proc/none/m"}.mount())
}
