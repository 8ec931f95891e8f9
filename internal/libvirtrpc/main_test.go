package libvirtrpc

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/libvirttest"
)

// daemon is of all tests here.
var daemon libvirttest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	if err := daemon.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
