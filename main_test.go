package maqet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet"
)

// childMode is the environment variable that makes the test binary play another
// process that uses maqet; see children_test.go.
const childMode = "MAQET_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		if err := child(mode); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// shortDir returns a folder whose path leaves room for the names of sockets. When the
// test ends nothing may be in it that runs.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mq-")
	require.NoError(t, err)
	t.Cleanup(func() {
		left := processesOf(t, dir)
		for pid := range left { // a test that failed must not leave its guest to the next run
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		require.NoError(t, os.RemoveAll(dir))
		require.Empty(t, left, "processes left")
	})
	return dir
}

// processesOf finds processes that have dir in their command line: every QEMU of a
// maqet on that folder has.
func processesOf(t *testing.T, dir string) map[int]string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	found := map[int]string{}
	for _, path := range lines {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), dir) || !strings.Contains(string(data), "qemu-system") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		require.NoError(t, err)
		found[pid] = strings.ReplaceAll(string(data), "\x00", " ")
	}
	return found
}

// requireNothingLeft checks that no socket, disk or log of a guest is below dir, and
// that each lock can be had.
func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	require.Empty(t, processesOf(t, dir))
	var left []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir() && strings.Count(name, "/") == 0, // the folders themselves
			strings.HasPrefix(name, "maqet.db"), strings.HasPrefix(name, "locks/"):
		default:
			left = append(left, name)
		}
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, left)
}

// open returns a Maqet on dir that is closed with the test.
func open(t *testing.T, dir string, opts ...maqet.Option) *maqet.Maqet {
	t.Helper()
	m, err := maqet.New(append([]maqet.Option{maqet.WithDir(dir)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// within fails the test when what takes longer than limit. Limits are far above what it
// takes, and only tell a hang from a slow machine.
func within(t *testing.T, limit time.Duration, what string, fn func()) {
	t.Helper()
	begun := time.Now()
	fn()
	require.Less(t, time.Since(begun), limit, what)
}
