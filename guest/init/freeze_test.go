package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseMounts(t *testing.T) {
	text := `22 1 0:2 / / rw - rootfs rootfs rw
30 22 254:0 / /mnt/a\040b\134c rw,relatime shared:1 - ext4 /dev/vda rw
31 22 254:0 /sub /again rw - ext4 /dev/vda rw
32 22 254:16 / /data ro - ext4 /dev/vdb ro
short line
33 22 0:30 / /run rw - tmpfs tmpfs rw
`
	dirs, err := parseMounts(strings.NewReader(text), func(device string) bool { return strings.HasPrefix(device, "254:") })
	require.NoError(t, err)
	require.Equal(t, []string{`/mnt/a b\c`, "/data"}, dirs, "one mount point of each file system on a block device")
}
