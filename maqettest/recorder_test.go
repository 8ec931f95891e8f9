package maqettest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "main":
		os.Exit(Main(m))
	default: // as a package without a TestMain
		os.Exit(m.Run())
	}
}

// recorder is a testing.TB that may fail or be skipped without failing the real one.
type recorder struct {
	testing.TB // of the real test; only what a recorder does not have a word in
	name       string
	artifacts  string
	ctx        context.Context
	cancel     context.CancelFunc

	cleanups        []func()
	log             strings.Builder
	failed, skipped bool
}

// record runs fn as a test of its own, with its cleanups, and returns what became of it.
func record(t *testing.T, fn func(r *recorder)) *recorder {
	t.Helper()
	return recordAs(t, t.Name(), fn)
}

// recordAs is record for a test of another name.
func recordAs(t *testing.T, name string, fn func(r *recorder)) *recorder {
	t.Helper()
	r := &recorder{TB: t, name: name, artifacts: t.TempDir()}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.finish()
		fn(r)
	}()
	<-done
	return r
}

// finish does what package testing does at the end of a test.
func (r *recorder) finish() {
	r.cancel()
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		last()
	}
}

func (r *recorder) Helper()                  {}
func (r *recorder) Name() string             { return r.name }
func (r *recorder) Cleanup(fn func())        { r.cleanups = append(r.cleanups, fn) }
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) ArtifactDir() string      { return r.artifacts }
func (r *recorder) Failed() bool             { return r.failed }
func (r *recorder) Logf(format string, args ...any) {
	fmt.Fprintf(&r.log, format+"\n", args...)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.Logf(format, args...)
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = true
	r.Logf(format, args...)
	runtime.Goexit()
}

// ownTemp gives the test a temporary folder, short enough for sockets, in which nothing
// may be left.
func ownTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mqt-")
	require.NoError(t, err)
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		require.NoError(t, os.Remove(dir))
	})
	return dir
}

// requireNoQEMU fails when a QEMU runs that has text in its command line.
func requireNoQEMU(t *testing.T, text string) {
	t.Helper()
	require.NotEmpty(t, text)
	procs, err := os.ReadDir("/proc")
	require.NoError(t, err)
	for _, p := range procs {
		args, err := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		words := strings.Split(string(args), "\x00")
		if err == nil && strings.Contains(words[0], "qemu-system") {
			require.False(t, slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, text) }), "%s runs: %q", p.Name(), words)
		}
	}
}
