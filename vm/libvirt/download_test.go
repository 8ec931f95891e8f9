//go:build linux

package libvirt

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestDownload(t *testing.T) {
	v := volumesBackend(t, daemon.Get(t)).volumes
	file, content := volumesFile(t, 1<<20)
	staged, err := v.Stage(t.Context(), file, "raw")
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, v.download(t.Context(), staged, &got))
	require.True(t, bytes.Equal(content, got.Bytes()))
	require.True(t, hasCode(v.download(t.Context(), "/no/such/volume", io.Discard), libvirt.ErrNoStorageVol))
}

// A host that takes connections and never answers is not waited for without end.
func TestDownloadFromSilence(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "silent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	b, err := New(Options{URI: "qemu:///system?socket=" + socket, Timeout: 20 * time.Millisecond})
	require.NoError(t, err)
	defer b.Close()
	require.ErrorIs(t, b.volumes.download(t.Context(), "/any", io.Discard), errors.ErrLibvirtConnection)
	b.opts.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.volumes.download(ctx, "/any", io.Discard), context.DeadlineExceeded)
}
