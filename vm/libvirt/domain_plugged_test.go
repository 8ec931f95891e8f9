package libvirt

import "github.com/maqet/maqet/qmp"

// xmlPlugged are devices that were plugged while their VM ran.
func xmlPlugged() []qmp.Device {
	return []qmp.Device{
		{ID: "more", Bus: "hotplug0", Disk: &qmp.Disk{Path: `/a<&>"',.raw`, Format: "raw"}},
		{ID: "nic", Bus: "hotplug1", NIC: &qmp.NIC{MAC: "52:54:00:00:00:01", Forwards: []qmp.Forward{{Port: 2222, Guest: 22}}}},
		{ID: "port", Bus: "ua-virtio-serial.0", Serial: &qmp.SerialPort{Name: "port", File: "/a,b"}},
		{ID: "sock", Bus: "ua-virtio-serial.0", Serial: &qmp.SerialPort{Name: "sock", Socket: "/c,d"}},
		{ID: "null", Bus: "ua-virtio-serial.0", Serial: &qmp.SerialPort{Name: "null"}},
	}
}
