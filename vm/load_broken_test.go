package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// updateGolden is the environment variable that makes TestBrokenConfigs write its files
// anew.
const updateGolden = "MAQET_UPDATE_GOLDEN"

// TestBrokenConfigs loads each file of testdata/broken, and each folder's files in order,
// and compares the message with the one beside it. Set updateGolden after an intended
// change, and read the difference as a person would who made the mistake.
func TestBrokenConfigs(t *testing.T) {
	t.Chdir("testdata/broken")
	here, err := os.Getwd()
	require.NoError(t, err)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	seen := 0
	for _, e := range entries {
		name, isFile := strings.CutSuffix(e.Name(), ".yaml")
		if !isFile && !e.IsDir() {
			continue
		}
		seen++
		t.Run(name, func(t *testing.T) {
			files := []string{e.Name()}
			if e.IsDir() {
				files, err = filepath.Glob(name + "/*.yaml")
				require.NoError(t, err)
			}
			cfg, err := LoadConfig(files...)
			require.Equal(t, Config{}, cfg)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, errors.ErrConfiguration)
			for _, p := range bad.Problems {
				require.Contains(t, files, p.File, "%v", p)
				require.NotZero(t, p.Line, "%v", p)
				require.NotZero(t, p.Column, "%v", p)
				require.NotEmpty(t, p.Message)
			}
			got := strings.ReplaceAll(err.Error(), here, "DIR") + "\n"
			golden := name + ".txt"
			if os.Getenv(updateGolden) != "" {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
	require.GreaterOrEqual(t, seen, 60)
	texts, err := filepath.Glob("*.txt")
	require.NoError(t, err)
	for _, text := range texts {
		base := strings.TrimSuffix(text, ".txt")
		require.True(t, slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == base || e.Name() == base+".yaml" }),
			"%s has no configuration", text)
	}
}
