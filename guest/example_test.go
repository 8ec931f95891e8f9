package guest_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// m is the manager of a Maqet, its field Guest.
var m *guest.Manager

func ExampleManager_Exec() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := m.Exec(ctx, "web", guest.Command{
		Args:   []string{"ls", "-l", "/etc"},
		Stderr: os.Stderr,
	})
	var failed *errors.CommandError
	if errors.As(err, &failed) {
		fmt.Println("exit code", failed.ExitCode)
	} else if err != nil {
		fmt.Println("not run:", err)
	}
	fmt.Printf("%s", res.Stdout)
}

func ExampleManager_Wait() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := m.Wait(ctx, "web",
		guest.PortOpen(80),
		guest.Any(guest.FileExists("/run/web.pid"), guest.ConsoleText("web: ready")),
	)
	fmt.Println(err)
}

func ExampleManager_Until() {
	start := func(opts ...vm.StartOption) {} // vm.Manager's Start
	start(vm.WaitFor(m.Until(guest.AgentReady(), guest.CommandSucceeds("test", "-S", "/run/db.sock"))))
}

func ExampleConsole() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	console, err := m.Console("web")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := console.ExpectText(ctx, "login: "); err != nil {
		fmt.Println(err)
		return
	}
	if err := console.Send(ctx, "root\n"); err != nil {
		fmt.Println(err)
	}
}
