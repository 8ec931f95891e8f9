// Package ends has tests whose programs end in other ways than tests should.
package ends

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestPanics(*testing.T) { panic("on purpose") }
func TestExits(*testing.T)  { os.Exit(3) }

func TestKilled(t *testing.T) {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	select {}
}

func TestHangs(*testing.T) {
	fmt.Println("hanging")
	time.Sleep(time.Hour) // a wait for nothing is a deadlock, which Go ends
}
