package guesttest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOutputs: package testing's flags say what a program writes.
func TestOutputs(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  []string
		want outputs
	}{
		"nothing":        {args: []string{"-test.v", "-test.run=X", "other"}},
		"profile":        {args: []string{"-test.cpuprofile=cpu"}, want: outputs{files: []string{"/w/cpu"}}},
		"two words":      {args: []string{"-test.memprofile", "mem", "--test.trace=t"}, want: outputs{files: []string{"/w/mem", "/w/t"}}},
		"absolute":       {args: []string{"-test.outputdir=/o", "-test.cpuprofile=/a/../b/cpu"}, want: outputs{files: []string{"/b/cpu"}}},
		"output folder":  {args: []string{"-test.outputdir=o", "-test.cpuprofile=cpu", "-test.coverprofile=c"}, want: outputs{files: []string{"/w/c", "/w/o/cpu"}}},
		"last wins":      {args: []string{"-test.cpuprofile=a", "-test.cpuprofile=b"}, want: outputs{files: []string{"/w/b"}}},
		"no more flags":  {args: []string{"--", "-test.cpuprofile=a"}},
		"artifacts":      {args: []string{"-test.artifacts", "-test.outputdir=/o"}, want: outputs{onlyOut: []string{"/o/_artifacts"}}},
		"none":           {args: []string{"-test.artifacts=false"}},
		"counters":       {args: []string{"-test.gocoverdir=/c"}, env: []string{"GOCOVERDIR=/c/"}, want: outputs{both: []string{"/c"}}},
		"other counters": {env: []string{"GOCOVERDIR=c"}, want: outputs{both: []string{"/w/c"}}},
		"fuzzing": {args: []string{"-test.fuzz=F", "-test.fuzzcachedir=/f"},
			want: outputs{both: []string{"/f"}, onlyOut: []string{"/w/testdata/fuzz"}}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, Program{Dir: "/w", Args: c.args, Env: c.env}.outputs())
		})
	}
}

func TestFoldersOfOutputs(t *testing.T) {
	o := outputs{files: []string{"/a/b"}, both: []string{"/c/d"}, onlyOut: []string{"/e/f"}}
	require.ElementsMatch(t, []string{"/a", "/c/d", "/e"}, o.folders())
}

// TestInputsOfOutputs: with the folder of the counters comes what its list names.
func TestInputsOfOutputs(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, metaFiles)
	none := filepath.Join(dir, "none")
	require.NoError(t, os.WriteFile(list, []byte(`{"ImportPaths": ["a"], "MetaFileFragments": ["/x/covmeta.1"]}`), 0o600))
	paths, err := outputs{both: []string{none, dir}}.inputs()
	require.NoError(t, err)
	require.Equal(t, []string{dir, "/x/covmeta.1"}, paths)
	require.NoError(t, os.WriteFile(list, []byte(`{`), 0o600))
	_, err = outputs{both: []string{dir}}.inputs()
	require.ErrorContains(t, err, list)
}

func TestEnv(t *testing.T) {
	environ := []string{"HOME=/h", "GODEBUG=a", "MINE=1", "TOKEN=secret", "GOFLAGS=-x"}
	require.Equal(t, []string{"GODEBUG=a"}, Env(environ, nil))
	require.Equal(t, []string{"GODEBUG=a", "MINE=1", "NEW=2", "HOME=/x"}, Env(environ, []string{"MINE", "NEW=2", "HOME=/x", "MISSING"}))
}
