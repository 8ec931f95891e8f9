package storage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQcow2Options(t *testing.T) {
	require.NoError(t, Qcow2Options{}.check())
	require.Nil(t, Qcow2Options{}.args())
	all := Qcow2Options{ClusterSize: 4096, Preallocation: PreallocationMetadata, LazyRefcounts: true, Compression: CompressionZstd}
	require.NoError(t, all.check())
	require.Equal(t, []string{"-o", "cluster_size=4096,preallocation=metadata,lazy_refcounts=on,compression_type=zstd"}, all.args())
	for says, bad := range map[string]Qcow2Options{
		"cluster size 256":     {ClusterSize: 256},
		"cluster size 4194304": {ClusterSize: 4 << 20},
		"cluster size 66000":   {ClusterSize: 66000},
		"cluster size -512":    {ClusterSize: -512},
		`"full,size=1"`:        {Preallocation: "full,size=1"},
		`"gzip"`:               {Compression: "gzip"},
	} {
		require.ErrorContains(t, bad.check(), says)
	}
}
