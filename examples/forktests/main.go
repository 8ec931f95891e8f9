// Command forktests runs the twelve tests of the service in its folder kv twice, one after another:
// once in forks of a guest that is booted and prepared once, and once in guests that are booted and
// prepared for each test. It prints how long each test took. The tests are the same, and so is what
// prepares a guest: see newService in kv/main_test.go.
//
//	go run ./examples/forktests
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	if _, err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "forktests:", err)
		os.Exit(1)
	}
}

// suite is the package whose tests are run.
const suite = "github.com/maqet/maqet/examples/forktests/kv"

// run returns how many times as long as with forks the tests took without. The test binary gets flags.
func run(ctx context.Context, out io.Writer, flags ...string) (ratio float64, err error) {
	dir, err := os.MkdirTemp("", "forktests-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "kv.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, suite)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 0, err
	}
	forks, err := timed(ctx, binary, flags)
	if err != nil {
		return 0, err
	}
	boots, err := timed(ctx, binary, flags, "FORKTESTS_BOOT=1")
	if err != nil {
		return 0, err
	}
	return report(out, forks, boots)
}

// test is a test, and how long it took.
type test struct {
	name string
	took time.Duration
}

// passed matches what a test binary says of a test, and skipped what makes the figures worthless.
var (
	passed  = regexp.MustCompile(`^--- PASS: (\w+) \((.*)\)$`)
	skipped = regexp.MustCompile(`^--- SKIP: `)
)

// timed runs the tests.
func timed(ctx context.Context, binary string, flags []string, env ...string) (tests []test, err error) {
	cmd := exec.CommandContext(ctx, binary, append(flags, "-test.v", "-test.parallel=1")...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if skipped.Match(lines.Bytes()) {
			return nil, fmt.Errorf("a test can't run here:\n%s", out)
		}
		if m := passed.FindStringSubmatch(lines.Text()); m != nil {
			took, err := time.ParseDuration(m[2])
			if err != nil {
				return nil, err
			}
			tests = append(tests, test{m[1], took})
		}
	}
	return tests, nil
}

// report prints the times of all tests.
func report(out io.Writer, forks, boots []test) (ratio float64, err error) {
	const row = "%-20s %10v %10v\n"
	var text strings.Builder
	fmt.Fprintf(&text, row, "", "forks", "boots")
	var withForks, withBoots time.Duration
	for i, f := range forks {
		fmt.Fprintf(&text, row, f.name, f.took, boots[i].took)
		withForks, withBoots = withForks+f.took, withBoots+boots[i].took
	}
	ratio = withBoots.Seconds() / withForks.Seconds()
	fmt.Fprintf(&text, row, fmt.Sprint("all ", len(forks)), withForks, withBoots)
	fmt.Fprintf(&text, "With forks the tests are %.1f times as fast. The first of them has booted the guest.\n", ratio)
	_, err = io.WriteString(out, text.String())
	return ratio, err
}
