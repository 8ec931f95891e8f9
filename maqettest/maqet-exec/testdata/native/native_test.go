package native

import (
	"net"
	"os/user"
	"testing"
)

func TestTwice(t *testing.T) {
	if Twice(-3) != 6 {
		t.Error(Twice(-3))
	}
}

// TestLibrary calls the guest's C library: it looks names up.
func TestLibrary(t *testing.T) {
	u, err := user.Lookup("root")
	if err != nil || u.Uid != "0" {
		t.Error(u, err)
	}
	addrs, err := net.LookupHost("localhost")
	if err != nil || len(addrs) == 0 {
		t.Error(addrs, err)
	}
}
