package qapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// A bare client, here of a stand-in for QEMU: plug a disk, pull it, and wait until the
// guest has let it go.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, stop := standIn()
	defer stop()
	client := qmp.NewClient()
	defer client.Close()
	if err := client.Connect(ctx, conn); err != nil {
		log.Fatal(err)
	}

	status, err := qapi.QueryStatus(ctx, client)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("paused:", status.Status == qapi.RunStatePaused)

	if err := qapi.BlockdevAdd(ctx, client, qapi.BlockdevOptions{
		Driver: qapi.BlockdevDriverQcow2, NodeName: "data0", Discard: qapi.BlockdevDiscardOptionsUnmap,
		File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{
			Driver: qapi.BlockdevDriverFile, Filename: "/srv/data.qcow2",
		}},
	}); err != nil {
		log.Fatal(err)
	}
	if err := qapi.DeviceAdd(ctx, client, qapi.DeviceAddArgs{
		Driver: "virtio-blk-pci", ID: "disk0",
		Props: map[string]any{"drive": "data0", "serial": "DATA"},
	}); err != nil {
		log.Fatal(err)
	}

	events := client.Subscribe(qapi.EventDeviceDeleted) // before what causes it
	defer events.Close()
	if err := qapi.DeviceDel(ctx, client, "disk0"); err != nil {
		log.Fatal(err)
	}
	gone, _, err := qapi.Await(ctx, events, func(e qapi.DeviceDeletedEvent) bool { return e.Device == "disk0" })
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("gone:", gone.Path)
	// Output:
	// paused: true
	// blockdev-add {"driver":"qcow2","node-name":"data0","discard":"unmap","file":{"driver":"file","filename":"/srv/data.qcow2"}}
	// device_add {"driver":"virtio-blk-pci","id":"disk0","drive":"data0","serial":"DATA"}
	// gone: /machine/peripheral/disk0
}

// standIn answers like a QEMU that knows the example's commands, and prints arguments.
func standIn() (client net.Conn, stop func()) {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fmt.Fprintln(server, `{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": []}}`)
		for in := bufio.NewScanner(server); in.Scan(); {
			var request struct {
				Execute   string
				Arguments json.RawMessage
				ID        json.RawMessage
			}
			_ = json.Unmarshal(in.Bytes(), &request)
			switch request.Execute {
			case "qmp_capabilities":
				fmt.Fprintf(server, `{"return": {}, "id": %s}`+"\n", request.ID)
			case "query-status":
				fmt.Fprintln(server, `{"return": {"status": "paused", "running": false}}`)
			case "device_del":
				fmt.Fprintln(server, `{"return": {}}`)
				fmt.Fprintln(server, `{"event": "DEVICE_DELETED", "timestamp": {"seconds": 1, "microseconds": 0}, "data": {"device": "disk0", "path": "/machine/peripheral/disk0"}}`)
			default:
				fmt.Println(request.Execute, string(request.Arguments))
				fmt.Fprintln(server, `{"return": {}}`)
			}
		}
	}()
	return client, func() {
		_ = server.Close()
		<-done
	}
}
