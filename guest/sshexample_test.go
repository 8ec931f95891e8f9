package guest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// A user and a key for it come with the seed; the key ends with this process.
// examples/debian is the whole program.
func ExampleManager_SSH() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	key, err := guest.NewSSHKey()
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = vm.Config{ // of the VM "web"
		Disks:     []vm.Disk{{Base: "debian.qcow2"}},
		Networks:  []vm.Network{{Forwards: []vm.Forward{{Port: 2222, Guest: 22}}}},
		CloudInit: &vm.CloudInit{Users: []vm.CloudUser{{Name: "dev", SSHKeys: []string{key.AuthorizedKey()}}}},
	}
	in, err := m.SSH(ctx, "web", guest.WithUser("dev"), guest.WithKey(key))
	if err != nil {
		fmt.Println("no way in:", err)
		return
	}
	defer in.Close()
	res, err := in.Exec(ctx, guest.Command{Args: []string{"uname", "-a"}})
	fmt.Printf("%s %v\n", res.Stdout, err)
}
