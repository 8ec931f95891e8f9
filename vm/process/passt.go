package process

import (
	"cmp"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// passtCable is the program passt at the other end of a connection. It gives the guest
// the addresses that QEMU's user network would (passt(1)).
func (b *builder) passtCable(c card) props {
	path, err := exec.LookPath("passt")
	if err != nil {
		b.problem(c.Field+".type", c.Type, "needs the program passt, which is not on PATH", "install the package passt, or use type user")
		return props{"type": "user"}
	}
	subnet := netip.MustParsePrefix(cmp.Or(c.Subnet, vm.DefaultSubnet)) // validated
	addresses := guestview.UserAddresses(subnet.String())
	args := []string{path, "--foreground", "--stderr", "--fd", strconv.Itoa(helperFD), "--ipv4-only",
		"--address", netip.MustParsePrefix(addresses[0]).Addr().String(), "--netmask", strconv.Itoa(subnet.Bits()),
		"--gateway", addresses[1], "--dns-forward", addresses[2]}
	for _, f := range c.Forwards {
		option := "--tcp-ports"
		if f.Proto == "udp" {
			option = "--udp-ports"
		}
		args = append(args, option, fmt.Sprintf("%s/%d:%d", cmp.Or(f.Host, guestview.DefaultForwardHost), f.Port, f.Guest))
	}
	fd := b.helper(helperPlan{name: "passt " + c.Name, log: "passt-" + strconv.Itoa(c.Index), args: args})
	return props{"type": "stream", "server": false, "addr": props{"type": "fd", "str": fd}}
}
