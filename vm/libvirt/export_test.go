package libvirt

import "github.com/maqet/maqet/internal/libvirttest"

// SharedDaemon is the libvirtd of all tests of this folder.
func SharedDaemon() *libvirttest.Shared { return &daemon }
