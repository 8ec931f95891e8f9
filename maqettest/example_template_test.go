package maqettest_test

import (
	"context"
	"os"
	"testing"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/maqettest"
	"github.com/maqet/maqet/vm"
)

// Variables of the package: nothing runs before a test calls Fork.
var (
	// web boots once.
	web = maqettest.NewTemplate(
		maqettest.Config(vm.Config{Networks: []vm.Network{{}}}),
		maqettest.Setup(func(ctx context.Context, g *maqet.Machine) error {
			_, err := g.Exec(ctx, "sh", "-c", "mkdir -p /srv && echo hello > /srv/index.html && httpd -h /srv")
			return err
		}),
	)
	// withUsers is a fork of it in which more has been done.
	withUsers = web.With(func(ctx context.Context, g *maqet.Machine) error {
		return g.WriteFile(ctx, "/srv/users", []byte("alice\nbob\n"), 0o644)
	})
)

// The tests of a suite run at once, each in a guest of its own, and the guest has booted once.
// (In a suite of yours they are called TestPage and so on.)
func testPage(t *testing.T) {
	t.Parallel()
	g := web.Fork(t)
	g.WaitFor(guest.PortOpen(80))
	page := g.Run("wget", "-q", "-O", "-", "http://127.0.0.1/")
	if string(page.Stdout) != "hello\n" {
		t.Errorf("the page is %q", page.Stdout)
	}
}

func testDeleteUser(t *testing.T) {
	t.Parallel()
	g := withUsers.Fork(t)
	g.Run("sed", "-i", "/alice/d", "/srv/users") // in no other test
	if users := string(g.ReadFile("/srv/users")); users != "bob\n" {
		t.Errorf("the users are %q", users)
	}
}

func testUsers(t *testing.T) {
	t.Parallel()
	g := withUsers.Fork(t)
	if users := string(g.ReadFile("/srv/users")); users != "alice\nbob\n" {
		t.Errorf("the users are %q", users)
	}
}

func ExampleTemplate() {
	_ = func(m *testing.M) { // func TestMain(m *testing.M)
		os.Exit(maqettest.Main(m))
	}
}
