package maqettest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/maqet/maqet/maqettest"
	"github.com/maqet/maqet/vm"
)

// In a file of yours that ends in _test.go:
func ExampleBoot() {
	_ = func(t *testing.T) { // func TestKernel(t *testing.T)
		t.Parallel()
		g := maqettest.Boot(t)
		if out := string(g.Run("uname", "-s").Stdout); strings.TrimSpace(out) != "Linux" {
			t.Errorf("uname printed %q", out)
		}
	}
}

func ExampleBoot_config() {
	_ = func(t *testing.T) { // func TestDisk(t *testing.T)
		g := maqettest.Boot(t, maqettest.Config(vm.Config{
			Memory: 512 * vm.MiB,
			Disks:  []vm.Disk{{Size: vm.GiB, Serial: "data"}},
		}))
		g.Run("ls", "-l", "/dev/vda") // the test fails if the command does
	}
}

func ExampleGuest_Start() {
	_ = func(t *testing.T) { // func TestFollow(t *testing.T)
		g := web.Fork(t)
		g.WriteFile("/tmp/log", nil, 0o600)
		log := g.Start("tail", "-f", "/tmp/log")
		g.Run("sh", "-c", "echo it happened >> /tmp/log")
		g.Eventually(func() error {
			if !strings.Contains(log.Stdout(), "it happened") {
				return errors.New("nothing is logged")
			}
			return nil
		})
	}
}
