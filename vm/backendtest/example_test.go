package backendtest_test

import (
	"testing"

	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/backendtest"
)

// The test of a backend whose guests are no PCs, and boot no system.
func ExampleRun() {
	var _ = func(t *testing.T) { // TestConformance
		backendtest.Run(t, backendtest.Options{
			Config: vm.Config{Memory: 64 * vm.MiB},
			New:    fakeHarness(""),
			Lacks:  []backendtest.Feature{backendtest.PC, backendtest.System},
		})
	}
}
