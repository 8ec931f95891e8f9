// Command qmp talks to a QEMU that somebody else runs, with nothing of maqet but its QMP
// client: it prints what the QEMU is and what its machine does, pauses it for a moment,
// and prints the events that this causes.
//
//	qemu-system-x86_64 -display none -qmp unix:/tmp/qmp.sock,server=on,wait=off &
//	go run ./examples/qmp /tmp/qmp.sock
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: qmp SOCKET")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, socket string) error {
	client, err := qmp.Dial(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer client.Close()
	fmt.Println("QEMU", client.Greeting().Version)

	status, err := qapi.QueryStatus(ctx, client)
	if err != nil {
		return err
	}
	cpus, err := qapi.QueryCPUsFast(ctx, client)
	if err != nil {
		return err
	}
	fmt.Printf("the machine is %s, with %d CPU\n", status.Status, len(cpus))

	events := client.Subscribe(qapi.EventStop, qapi.EventResume)
	defer events.Close()
	if err := qapi.Stop(ctx, client); err != nil {
		return err
	}
	if err := qapi.Cont(ctx, client); err != nil {
		return err
	}
	for range 2 {
		e, err := events.Await(ctx, nil)
		if err != nil {
			return err
		}
		fmt.Println(e.Time.Format(time.TimeOnly), e.Name)
	}

	// What QEMU refuses is an error with QEMU's class and words.
	if _, err := client.Execute(ctx, "no-such-command", nil); err != nil {
		fmt.Println(err)
	}
	return nil
}
