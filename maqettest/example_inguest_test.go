package maqettest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/maqet/maqet/maqettest"
)

// lab is booted once; each test that runs in a guest has a fork of it.
var lab = maqettest.NewTemplate()

// In a file of yours that ends in _test.go:
func ExampleInGuest() {
	_ = func(t *testing.T) { // func TestHostname(t *testing.T)
		t.Parallel()
		maqettest.InGuest(t, maqettest.ForkOf(lab))
		// From here on the test is root in a machine of its own.
		if err := os.WriteFile("/proc/sys/kernel/hostname", []byte("tested"), 0o600); err != nil {
			t.Fatal(err)
		}
		name, err := os.Hostname()
		if err != nil || strings.TrimSpace(name) != "tested" {
			t.Errorf("%q, %v", name, err)
		}
	}
}
