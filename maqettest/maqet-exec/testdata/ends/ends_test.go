// Package ends has tests whose programs end in other ways than tests should.
package ends

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func TestPanics(*testing.T) { panic("on purpose") }
func TestExits(*testing.T)  { os.Exit(3) }

func TestKilled(t *testing.T) {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	select {}
}

func TestHangs(t *testing.T) {
	fmt.Println("hanging")
	<-t.Context().Done()
}
