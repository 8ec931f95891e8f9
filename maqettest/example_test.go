package maqettest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
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

// Variables of the package: nothing runs before a test calls Fork.
var (
	// web boots once.
	web = maqettest.NewTemplate(
		maqettest.Config(vm.Config{Memory: 512 * vm.MiB, Networks: []vm.Network{{}}}),
		maqettest.Setup(func(ctx context.Context, g *maqet.Machine) error {
			_, err := g.Exec(ctx, "sh", "-c", "mkdir /srv && httpd -h /srv && echo hello > /srv/index.html")
			return err
		}),
	)
	// withUsers is a fork of it in which more has been done.
	withUsers = web.With(func(ctx context.Context, g *maqet.Machine) error {
		return g.WriteFile(ctx, "/srv/users", []byte("alice\nbob\n"), 0o644)
	})
)

// A suite: its tests run at once, each in a guest of its own, and the guest has booted once.
func ExampleTemplate() {
	_ = func(m *testing.M) { // func TestMain(m *testing.M)
		os.Exit(maqettest.Main(m))
	}
	_ = func(t *testing.T) { // func TestPage(t *testing.T)
		t.Parallel()
		g := web.Fork(t)
		g.WaitFor(guest.PortOpen(80))
		g.Run("wget", "-q", "-O", "/tmp/page", "http://localhost/")
		if page := string(g.ReadFile("/tmp/page")); page != "hello\n" {
			t.Errorf("the page is %q", page)
		}
	}
	_ = func(t *testing.T) { // func TestDeleteUser(t *testing.T)
		t.Parallel()
		g := withUsers.Fork(t)
		g.Run("sed", "-i", "/alice/d", "/srv/users") // in no other test
		if users := string(g.ReadFile("/srv/users")); users != "bob\n" {
			t.Errorf("the users are %q", users)
		}
	}
}

func ExampleGuest_Start() {
	_ = func(t *testing.T) { // func TestLog(t *testing.T)
		g := web.Fork(t)
		log := g.Start("tail", "-f", "/var/log/messages")
		g.Run("logger", "it happened")
		g.Eventually(func() error {
			if !strings.Contains(log.Stdout(), "it happened") {
				return errors.New("nothing is logged")
			}
			return nil
		})
	}
}
