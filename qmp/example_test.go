package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// The client alone: here against a stand-in for QEMU, else against the socket of
// qemu-system-x86_64 -qmp unix:/path/to/socket,server=on,wait=off.
func Example() {
	socket, stop := standIn()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client, err := qmp.Dial(ctx, "unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println("QEMU", client.Greeting().Version)
	events := client.Subscribe("STOP", "RESUME")

	if _, err := client.Execute(ctx, "stop", nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("event", (<-events.C()).Name)

	var status qmp.StatusInfo
	answer, err := client.Execute(ctx, "query-status", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(answer, &status); err != nil {
		log.Fatal(err)
	}
	fmt.Println("status", status.Status)

	_, err = client.Execute(ctx, "device_del", map[string]any{"id": "disk7"})
	var refused *errors.QMPError
	if errors.As(err, &refused) {
		fmt.Println(refused.Class)
	}
	// Output:
	// QEMU 7.2.22
	// event STOP
	// status paused
	// DeviceNotFound
}

// standIn listens like a QEMU that knows the example's commands.
func standIn() (socket string, stop func()) {
	dir, err := os.MkdirTemp("", "qmp")
	if err != nil {
		log.Fatal(err)
	}
	socket = filepath.Join(dir, "qmp")
	l, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	replies := map[string]string{
		"qmp_capabilities": `{"return": {}}`,
		"stop":             `{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "STOP"}` + "\n" + `{"return": {}}`,
		"query-status":     `{"return": {"status": "paused", "running": false}}`,
		"device_del":       `{"error": {"class": "DeviceNotFound", "desc": "Device 'disk7' not found"}}`,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": []}}`)
		for in := bufio.NewScanner(conn); in.Scan(); {
			var request struct{ Execute string }
			_ = json.Unmarshal(in.Bytes(), &request)
			fmt.Fprintln(conn, replies[request.Execute])
		}
	}()
	return socket, func() {
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	}
}
