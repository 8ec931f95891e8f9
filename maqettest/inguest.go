package maqettest

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/maqet/maqet/maqettest/internal/guesttest"
)

// Inside reports whether this process runs in a guest, by [InGuest] or the command maqet-exec.
func Inside() bool { return os.Getenv(guesttest.EnvInside) == "1" }

// InGuest runs the rest of the calling test in a guest. It boots one as [Boot] does, or forks
// it with [ForkOf], copies the test's own program into it, and runs it there for this test
// alone; in that run InGuest returns at once. On the host it does not return: the test ends with the result that it had
// in the guest, and with its output, so that what follows InGuest only ever runs in the
// guest. What is before runs in both, as do TestMain and, for a subtest, its parents up to
// t.Run.
//
//	func TestMount(t *testing.T) {
//		maqettest.InGuest(t)
//		require.NoError(t, unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "")) // as root, in a machine of its own
//	}
//
// The working directory has the same path in the guest; there is the package's folder testdata,
// if it has one, of at most 64 MiB, and what [Files] adds. A program with cgo, or built with
// -race, brings its libraries. It must be for the guest's architecture.
//
// The guest's HOME, PATH and TMPDIR are its own; variables for the Go runtime are passed on,
// and those of [Env]. So are the flags of the test's program that are not about which
// tests to run, and its arguments. The test's deadline is the guest's: shortly before it the
// program there panics, and shows what all goroutines do.
//
// With "go test -cover" what ran in the guest counts. Profiles (-cpuprofile and the like) of the
// guest are written beside the host's, with the test's name appended. t.ArtifactDir works.
// Subtests that run in the guest are lines of the test's log on the host. InGuest must be
// called from the test's own goroutine; t.Parallel may come before it.
//
// Package testing has no call that ends a test as passed; should a future Go change how
// that is done here, such tests are reported as skipped, "passed in the guest".
func InGuest(t *testing.T, opts ...Option) {
	t.Helper()
	if Inside() {
		return
	}
	o := newOptions(opts)
	program := insideProgram(t, o.inside)
	counters := coverInside(t, &program)
	g := guestFor(t, o, opts)
	program.Args = append(program.Args, "-test.timeout="+insideTime(t).String())
	report := &insideReport{name: t.Name(), out: t.Output()}
	program.Stdout, program.Stderr = report, report
	exit, err := program.Run(t.Context(), g.Machine)
	report.flush()
	if err != nil {
		t.Fatalf("maqettest: %v", err)
	}
	if err := counters.merge(); err != nil {
		t.Fatalf("maqettest: coverage of the guest: %v", err)
	}
	endAs(t, report.result, exit)
}

// guestFor boots the guest, or forks it.
func guestFor(t *testing.T, o options, opts []Option) *Guest {
	t.Helper()
	if o.inside.template != nil {
		return o.inside.template.Fork(t)
	}
	return Boot(t, opts...)
}

// endAs ends the test as it ended in the guest.
func endAs(t *testing.T, result string, exit guesttest.Exit) {
	t.Helper()
	switch {
	case exit.Signal != 0:
		t.Fatalf("maqettest: the test's program was ended by signal %d in the guest", exit.Signal)
	case result == "FAIL":
		t.FailNow() // its output says why
	case exit.Code != 0:
		t.Fatalf("maqettest: the test's program ended with exit status %d in the guest", exit.Code)
	case result == "SKIP":
		t.SkipNow()
	case result == "PASS":
		endPassed(t)
	default:
		t.Fatalf("maqettest: the test's program did not run %s in the guest", t.Name())
	}
}

// insideProgram returns the test's own program, to run this one test.
func insideProgram(t *testing.T, o insideOptions) guesttest.Program {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatalf("maqettest: find the test's program: %v", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("maqettest: %v", err)
	}
	return guesttest.Program{
		Path: path, Dir: dir, Files: o.files,
		Env:  guesttest.Env(os.Environ(), o.env),
		Args: append(insideFlags(t, dir), flag.Args()...),
	}
}

// onlyThis returns the pattern for -test.run that matches one test and its subtests.
func onlyThis(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// insideTime is how long the program in the guest may run: its panic has to be reported before
// the host's own time is up. 0: for ever.
func insideTime(t *testing.T) time.Duration {
	deadline, ok := t.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	return max(left-min(left/10, 10*time.Second), time.Millisecond)
}
