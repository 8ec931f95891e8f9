package maqettest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// insideCases are tests that run in guests. The process of TestInGuest runs them all, and
// each is run alone in its guest.
var insideCases = map[string]func(t *testing.T){
	"passes": func(t *testing.T) {
		require.Equal(t, "a b", os.Getenv("INSIDE_SETTING"))
		require.Equal(t, "/root", os.Getenv("HOME"))
		require.Empty(t, os.Getenv("INSIDE_SECRET"))
		text, err := os.ReadFile("testdata/files/text")
		require.NoError(t, err)
		require.Equal(t, "some text\n", string(text))
		extra, err := os.ReadFile(os.Getenv("INSIDE_FILE"))
		require.NoError(t, err)
		require.Equal(t, "extra", string(extra))
		require.NoFileExists(t, "inguest.go", "only testdata is copied")
		deadline, ok := t.Deadline()
		require.True(t, ok)
		t.Log("the deadline is", deadline)
		InGuest(t) // returns at once
		t.Run("sub", func(t *testing.T) { t.Log("in a subtest") })
		require.NoError(t, os.WriteFile(filepath.Join(t.ArtifactDir(), "artifact"), []byte("kept"), 0o600))
	},
	"fails":     func(t *testing.T) { require.True(t, !Inside(), "this is in the guest") },
	"skips":     func(t *testing.T) { t.Skip("this is the reason") },
	"sub fails": func(t *testing.T) { t.Run("sub/[of it]", func(t *testing.T) { t.Error("it failed") }) },
	"panics":    func(*testing.T) { panic("on purpose") },
	"exits":     func(*testing.T) { os.Exit(3) },
	"passes with a # in [its] name": func(t *testing.T) {
		_, err := os.Stdout.WriteString("printed to standard output")
		require.NoError(t, err)
	},
}

// insideTemplate is what the guests of insideCases are forks of.
var insideTemplate = NewTemplate(Memory(512 * vm.MiB))

func TestInsideCases(t *testing.T) {
	if os.Getenv(childEnv) == "" && !Inside() {
		return // it is TestInGuest that runs it
	}
	for name, fn := range insideCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			InGuest(t, ForkOf(insideTemplate), Env("INSIDE_SETTING", "INSIDE_FILE"), Files(os.Getenv("INSIDE_FILE")))
			if !Inside() {
				t.Error("InGuest has returned on the host")
			}
			fn(t)
		})
	}
}

// TestInGuest: a test ends on the host as it ended in the guest, and with its output.
func TestInGuest(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	out := t.TempDir()
	extra := filepath.Join(t.TempDir(), "extra")
	require.NoError(t, os.WriteFile(extra, []byte("extra"), 0o600))
	cmd := exec.Command(os.Args[0], "-test.run=^TestInsideCases$", "-test.v", "-test.timeout=5m", "-test.parallel=3",
		"-test.outputdir="+out, "-test.cpuprofile=cpu", "-test.artifacts")
	cmd.Env = append(os.Environ(), childEnv+"=main", "INSIDE_SETTING=a b", "INSIDE_SECRET=x", "INSIDE_FILE="+extra)
	data, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v", err)
	require.Equal(t, 1, exit.ExitCode())
	text := string(data)
	for _, want := range []string{
		"--- PASS: TestInsideCases/passes ", "--- FAIL: TestInsideCases/fails ", "--- SKIP: TestInsideCases/skips ",
		"--- FAIL: TestInsideCases/sub_fails ", "--- FAIL: TestInsideCases/panics ", "--- FAIL: TestInsideCases/exits ",
		"--- PASS: TestInsideCases/passes_with_a_#_in_[its]_name ",
		"    inguest_test.go:", "this is in the guest", "this is the reason", "in a subtest", "it failed",
		"--- FAIL: TestInsideCases/sub_fails/sub/[of_it] ", "panic: on purpose",
		"ended with exit status 3 in the guest", "    printed to standard output\n",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "InGuest has returned on the host")
	require.NotContains(t, text, string(rune(marker)), "package testing's marks are gone")
	for _, name := range []string{"cpu", "cpu.TestInsideCases-passes"} {
		info, err := os.Stat(filepath.Join(out, name))
		require.NoError(t, err)
		require.NotZero(t, info.Size(), name)
	}
	require.Equal(t, 1, strings.Count(tree(t, filepath.Join(out, "_artifacts")), "/artifact\n"))
}

// tree lists the files below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list.WriteString(path + "\n")
		}
		return err
	}))
	return list.String()
}

// TestCoverageInGuest: go test -cover counts what ran in guests, beside what ran on the host.
func TestCoverageInGuest(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "cover")
	args := []string{"test", "-count=1", "-covermode=atomic", "-coverprofile", profile}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race") // what is imported is compiled for that already
	}
	text, err := exec.Command("go", append(args, "./testdata/inside")...).CombinedOutput()
	require.NoError(t, err, "%s", text)
	require.Contains(t, string(text), "coverage: 66.7% of statements")
	data, err := os.ReadFile(profile)
	require.NoError(t, err)
	var counts []string
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) == 3 {
			counts = append(counts, words[2])
		}
	}
	require.Equal(t, []string{"4", "3", "0"}, counts, "%s", data)
}
