package vm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// FuzzLoadConfig reads anything: the result is a valid Config or an error that names the
// file, and reading the file a second time after itself changes nothing.
func FuzzLoadConfig(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/broken/*.yaml", "testdata/broken/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(f, err)
			if len(text) < 8<<10 { // a large one is slow, and tells nothing more
				f.Add(text)
			}
		}
	}
	base, over := longConfig()
	f.Add([]byte(base))
	f.Add([]byte(over))
	f.Add([]byte(`{"name":"web","memory":"512M","args":["-rtc","base=utc"]}`))
	f.Add([]byte("a: &a [*a]\nb: !replace {<<: *a, ? x: |2-\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := vm.ParseConfig("/dir/fuzz.yaml", text)
		if err != nil {
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.NotEmpty(t, bad.Problems)
			for _, p := range bad.Problems {
				require.Equal(t, "/dir/fuzz.yaml", p.File, "%v", p)
				require.NotEmpty(t, p.Message)
			}
			require.Equal(t, vm.Config{}, cfg)
			return
		}
		require.NoError(t, cfg.Validate())
		again, err := vm.ParseTwice("/dir/fuzz.yaml", text)
		require.NoError(t, err)
		require.Equal(t, cfg, again)
		data, err := json.Marshal(cfg)
		require.NoError(t, err, "a store can keep it")
		var back vm.Config
		require.NoError(t, json.Unmarshal(data, &back))
	})
}
