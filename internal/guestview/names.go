package guestview

import "github.com/maqet/maqet/vm"

// Names of the virtio ports inside the guest.
const (
	AgentPort   = "org.qemu.guest_agent.0"
	StreamPort0 = "org.maqet.stream.0"
	StreamPort1 = "org.maqet.stream.1"
	OwnPorts    = "org.maqet." // what names of this project's own begin with
)

// Seed is the serial number by which the disk with the image for cloud-init is known.
const Seed = "cloud-seed"

// IgnitionBlob is where Ignition looks in a guest of QEMU (Ignition documentation,
// "Supported platforms").
const IgnitionBlob = "opt/com.coreos/config"

// Port is a virtio port of a guest: the channel that it is, and its name inside the guest.
type Port struct{ Channel, Name string }

// Ports returns the virtio ports of the agent and, where maqet's own init is at the other
// end, of its streams.
func Ports(spec vm.LaunchSpec) []Port {
	if spec.Config.Agent.Disabled {
		return nil
	}
	ports := []Port{{vm.ChannelAgent, AgentPort}}
	if spec.Boot.Default {
		ports = append(ports, Port{vm.ChannelStream0, StreamPort0}, Port{vm.ChannelStream1, StreamPort1})
	}
	return ports
}

// BootIndexes returns QEMU's bootindex of each disk, 0 for none: what the configuration
// says, and where firmware looks for a system, images without a place of their own after
// all that have one, in their order. QEMU gives 0 to a kernel that it loads itself.
func BootIndexes(c vm.Config, firmware bool) []int {
	out, last := make([]int, len(c.Disks)), 0
	for i, d := range c.Disks {
		out[i] = d.BootOrder
		last = max(last, d.BootOrder)
	}
	for _, n := range c.Networks {
		last = max(last, n.BootOrder)
	}
	for i, d := range c.Disks {
		if firmware && out[i] == 0 && d.HasImage() {
			last++
			out[i] = last
		}
	}
	return out
}
