package snapshots_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// roleEnv makes the test binary play another program.
const roleEnv = "MAQET_TEST_ROLE"

// Values of roleEnv.
const (
	roleChild = "child"    // a process that uses maqet; see child_test.go
	roleImg   = "qemu-img" // qemu-img, traced; see img_test.go
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleEnv) {
	case roleChild:
		err = child()
	case roleImg:
		err = tracedImg()
	default:
		flag.Parse()
		// These tests mostly wait: for processes that start, and that are killed.
		if err = flag.Set("test.parallel", "8"); err == nil {
			goleak.VerifyTestMain(m)
			return
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// long reports whether to leave nothing out, however long it takes.
func long() bool { return os.Getenv("MAQET_LONG") == "1" }
