package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// event is one of test2json's, less what differs from run to run.
type event struct{ Action, Package, Test, Output, Key, Value string }

var seconds = regexp.MustCompile(`\d+\.\d+s`)

// goTest runs go test -json and returns its events.
func goTest(t *testing.T, env []string, args ...string) (code int, events []event) {
	t.Helper()
	end := run(t, ".", env, append([]string{"go", "test", "-json", "-count=1"}, args...)...)
	for line := range strings.Lines(end.stdout) {
		var e event
		require.NoError(t, json.Unmarshal([]byte(line), &e), "%s%s", line, end.stderr)
		e.Output = seconds.ReplaceAllString(e.Output, "0s")
		events = append(events, e)
	}
	return end.code, events
}

func goTestInGuest(t *testing.T, flags []string, args ...string) (code int, events []event) {
	t.Helper()
	return goTest(t, environment(shared), append([]string{"-exec", strings.Join(append([]string{os.Args[0]}, flags...), " ")}, args...)...)
}

// TestSameEvents: go test says the same of tests in a guest as of tests on the host.
func TestSameEvents(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	wantCode, want := goTest(t, os.Environ(), "./testdata/suite", "./testdata/native")
	code, events := goTestInGuest(t, nil, "./testdata/suite", "./testdata/native")
	require.Equal(t, 1, wantCode, "a test fails")
	require.Equal(t, wantCode, code)
	for _, name := range []string{"suite", "native"} {
		require.Equal(t, of(want, name), of(events, name))
	}
	names, err := filepath.Glob(filepath.Join(shared, "templates", "exec-*"))
	require.NoError(t, err)
	require.Len(t, names, 1, "packages share a template")
}

// of returns the events of one package.
func of(events []event, pkg string) (out []event) {
	for _, e := range events {
		if strings.HasSuffix(e.Package, "/"+pkg) {
			out = append(out, e)
		}
	}
	return out
}

// TestWhatTestsSeeAndLeave: files, environment and input; and all that flags name as output
// comes to the host, with the coverage that a run on the host has.
func TestWhatTestsSeeAndLeave(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	out := t.TempDir()
	extra := filepath.Join(t.TempDir(), "extra")
	require.NoError(t, os.WriteFile(extra, []byte("extra"), 0o600))
	t.Cleanup(func() { require.NoFileExists(t, "testdata/suite/written") })

	code, events := goTest(t, environment(shared, "SUITE_SETTING=a b", "SUITE_SECRET=x", "GODEBUG=x509sha1=1"),
		"-exec", os.Args[0]+" -env SUITE_SETTING -env SUITE_INSIDE="+extra+" -copy "+extra,
		"-run", "TestInside|TestPasses", "-outputdir", out, "-coverprofile", filepath.Join(out, "cover"), "-cpuprofile", "cpu",
		"-memprofile", "mem", "-blockprofile", "block", "-mutexprofile", "mutex", "-trace", "trace", "-artifacts", "./testdata/suite")
	require.Zero(t, code, "%v", events)
	require.Contains(t, events, event{Action: "pass", Package: events[0].Package, Test: "TestInside"})
	for _, name := range []string{"cpu", "mem", "block", "mutex", "trace"} {
		info, err := os.Stat(filepath.Join(out, name))
		require.NoError(t, err)
		require.NotZero(t, info.Size(), name)
	}
	require.Equal(t, []string{"kept"}, filesBelow(t, filepath.Join(out, "_artifacts")))

	plain := filepath.Join(t.TempDir(), "cover")
	code, _ = goTest(t, os.Environ(), "-run", "TestInside|TestPasses", "-coverprofile", plain, "./testdata/suite")
	require.Zero(t, code)
	require.Equal(t, read(t, plain), read(t, filepath.Join(out, "cover")))
}

// filesBelow returns what the files of a tree have in them.
func filesBelow(t *testing.T, dir string) (texts []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			texts = append(texts, read(t, path))
		}
		return err
	}))
	return texts
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// TestCoverageOfOtherPackages: -coverpkg counts packages that the tested one does not import.
func TestCoverageOfOtherPackages(t *testing.T) {
	needQEMU(t)
	t.Parallel()
	var profiles []string
	for _, inGuest := range []bool{false, true} {
		profile := filepath.Join(t.TempDir(), "cover")
		args := []string{"-run", "TestPasses|TestTwice", "-coverpkg", "./testdata/...", "-coverprofile", profile, "./testdata/suite", "./testdata/native"}
		var code int
		if inGuest {
			code, _ = goTestInGuest(t, nil, args...)
		} else {
			code, _ = goTest(t, os.Environ(), args...)
		}
		require.Zero(t, code)
		profiles = append(profiles, read(t, profile))
	}
	require.Equal(t, profiles[0], profiles[1])
}
