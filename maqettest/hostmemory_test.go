package maqettest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// fakeHost writes the files of a host that says how much memory is free.
func fakeHost(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return root
}

func TestMemoryBudget(t *testing.T) {
	const meminfo = "MemTotal:       24684084 kB\nMemAvailable:    4194304 kB\n"
	for _, c := range []struct {
		what, env string
		files     map[string]string
		want      vm.Size
	}{
		{"half of what is free", "", map[string]string{"proc/meminfo": meminfo}, 2 * vm.GiB},
		{"what is said", "1.5G", nil, 1536 * vm.MiB},
		{"no group", "", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "9:memory:/x\n0::/\n"}, 2 * vm.GiB},
		{"a container's limit", "", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1073741824\n", "sys/fs/cgroup/memory.current": "536870912\n"}, 256 * vm.MiB},
		{"its cache is free", "", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1073741824\n", "sys/fs/cgroup/memory.current": "536870912\n",
			"sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 268435456\nactive_file 1\n"}, 384 * vm.MiB},
		{"the narrowest counts", "", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/user/build\n",
			"sys/fs/cgroup/user/build/memory.max": "max\n", "sys/fs/cgroup/user/build/memory.current": "0\n",
			"sys/fs/cgroup/user/memory.max": "1073741824\n", "sys/fs/cgroup/user/memory.current": "0\n"}, 512 * vm.MiB},
		{"nothing is left", "", map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1\n", "sys/fs/cgroup/memory.current": "536870912\n"}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Setenv(envMemory, c.env)
			got, err := memoryBudget(fakeHost(t, c.files))
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestMemoryBudgetRefused(t *testing.T) {
	for _, text := range []string{"2 elephants", "0", "-2G", "99999999P"} {
		t.Setenv(envMemory, text)
		_, err := memoryBudget("/")
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
		require.ErrorContains(t, err, envMemory)
	}
	t.Setenv(envMemory, "")
	for _, files := range []map[string]string{nil, {"proc/meminfo": "MemTotal: 1 kB\n"}} {
		_, err := memoryBudget(fakeHost(t, files))
		require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	}
	left, err := memoryBudget("/")
	require.NoError(t, err)
	require.Positive(t, left)
}
