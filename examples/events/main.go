// Command events boots a guest and prints what QEMU reports of it while it is paused,
// resumed, reset and stopped.
//
//	go run ./examples/events
package main

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	m, err := maqet.New()
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := m.Close(); err == nil {
			err = closeErr
		}
	}()
	fmt.Println("booting a guest")
	guest, err := m.Run(ctx, vm.Config{})
	if err != nil {
		return err
	}

	events, err := guest.Events(ctx)
	if err != nil {
		return err
	}
	var printing sync.WaitGroup
	printing.Go(func() { show(events) })

	// To miss nothing, subscribe before what causes the event.
	ports, err := guest.Events(ctx, qapi.EventVserportChange)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"pause", guest.Pause},
		{"resume", guest.Resume},
		{"reset", guest.Reset},
	} {
		fmt.Println(step.what)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	for e := range ports {
		if port, ok, _ := qapi.As[qapi.VserportChangeEvent](e); ok && port.ID == "agent" && port.Open {
			break
		}
	}
	fmt.Println("the guest's agent is there again: stop")
	if _, err := guest.Stop(ctx); err != nil {
		return err
	}
	printing.Wait()
	return nil
}

// show prints events until the guest has gone. Every subscriber has a queue of its own; one
// that does not read delays nobody.
func show(events <-chan qmp.Event) {
	for e := range events {
		data, err := qapi.Decode(e)
		if err != nil {
			log.Print(err)
			continue
		}
		fmt.Printf("  %s %-16s %+v\n", e.Time.Format("15:04:05.000"), e.Name, data)
	}
}
