package libvirt

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/libvirttest"
)

// daemon is the libvirtd that all tests of this package share.
var daemon libvirttest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(stopping{m}) }

// stopping ends the daemon before leaks are looked for.
type stopping struct{ m *testing.M }

func (s stopping) Run() int {
	code := s.m.Run()
	if err := daemon.Stop(); err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}
