package maqet_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// A guest whose screen people can look at and type at by VNC, with a password that only
// they can read. A viewer connects to the socket: "vncviewer /run/.../vnc.sock".
func Example_vnc() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	g, err := m.Run(ctx, vm.Config{
		Display: vm.Display{Type: vm.DisplayVNC, PasswordFile: "vnc-password"}, // at most 8 characters
		Tablet:  true,                                                          // the pointer is where the viewer's is
		Boot:    vm.Boot{Cmdline: "console=tty0 console=ttyS0"},
	})
	if err != nil {
		log.Fatal(err)
	}
	inst, err := g.Instance(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("vncviewer", inst.Runtime.Sockets[vm.DisplayVNC])
}

// A guest with a port on which one program in it talks to one on the host, and another one
// whose text goes to a file.
func Example_serialPorts() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	g, err := m.Run(ctx, vm.Config{Serials: []vm.Serial{
		{Name: "org.example.talk", Socket: vm.SerialSocketAuto},
		{Name: "org.example.log", File: "guest.log"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	inst, err := g.Instance(ctx)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := net.Dial("unix", inst.Runtime.Sockets["org.example.talk"])
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := g.Exec(ctx, "sh", "-c", "echo hello > /dev/virtio-ports/org.example.talk"); err != nil {
		log.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("the guest says ", line)
}
