package qmptest_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qmptest"
)

// pause is a program under test: it stops a VM and waits until it has stopped.
func pause(ctx context.Context, network, addr string) error {
	client, err := qmp.Dial(ctx, network, addr)
	if err != nil {
		return err
	}
	defer client.Close()
	stopped := client.Subscribe("STOP")
	if _, err := client.Execute(ctx, "stop", nil); err != nil {
		return err
	}
	_, err = stopped.Await(ctx, nil)
	return err
}

// A test of a program that speaks QMP: run it against the fake, then look at what it
// asked for.
func ExampleServer() {
	s := qmptest.NewServer()
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	if err := pause(ctx, s.Network, s.Addr); err != nil {
		log.Fatal(err)
	}
	for _, r := range s.Requests() {
		fmt.Println(r.Command)
	}
	// Output:
	// qmp_capabilities
	// stop
}

// What does the program do when QEMU refuses, hangs, or goes?
func ExampleServer_OnCommand() {
	s := qmptest.NewServer()
	defer s.Close()
	attempt := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		return pause(ctx, s.Network, s.Addr)
	}

	s.Handle("stop", func(qmptest.Request) (any, error) {
		return nil, qmptest.Error("GenericError", "guest is being migrated")
	})
	fmt.Println("refused:", attempt())
	s.Handle("stop", nil)

	s.OnCommand("stop", qmptest.Silent())
	fmt.Println("hangs, timeout:", errors.Is(attempt(), errors.ErrQMPTimeout))

	s.OnCommand("stop", qmptest.HangUp())
	fmt.Println("goes, connection lost:", errors.Is(attempt(), errors.ErrQMPConnection))
	// Output:
	// refused: QMP stop: GenericError: guest is being migrated
	// hangs, timeout: true
	// goes, connection lost: true
}

// A command with arguments, and an event that follows its reply.
func ExampleServer_Handle() {
	s := qmptest.NewServer()
	defer s.Close()
	s.Handle("balloon", func(r qmptest.Request) (any, error) {
		var args struct{ Value int64 }
		if err := r.Decode(&args); err != nil {
			return nil, err
		}
		r.Then(func() { s.Emit("BALLOON_CHANGE", map[string]int64{"actual": args.Value}) })
		return nil, nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := qmp.Dial(ctx, s.Network, s.Addr)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	events := client.Subscribe()
	if _, err := client.Execute(ctx, "balloon", map[string]int{"value": 1 << 30}); err != nil {
		log.Fatal(err)
	}
	e, err := events.Await(ctx, nil)
	fmt.Println(e.Name, string(e.Data), err)
	// Output:
	// BALLOON_CHANGE {"actual":1073741824} <nil>
}

// A guest agent whose port holds the rest of an earlier reply.
func ExampleNewAgent() {
	s := qmptest.NewAgent()
	defer s.Close()
	s.OnConnect(qmptest.Garbage(`"count": 12}}`))
	conn, err := s.Conn()
	if err != nil {
		log.Fatal(err)
	}
	agent := qmp.NewAgent(conn)
	defer agent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := agent.Execute(ctx, "guest-ping", nil)
	fmt.Println(string(answer), err)
	// Output:
	// {} <nil>
}
