// Package libvirttest starts a libvirtd for tests that is private to them: it neither
// meets nor disturbs one that the host runs, and nothing of it is left when the tests
// end, also when they are killed.
//
// Root gets the daemon of qemu:///system in a mount and a PID namespace of its own, where
// folders of a temporary tree lie over those of the host that libvirt writes to. Other
// users get that of qemu:///session with XDG_* in a temporary tree. Either starts in
// about 0.2 seconds; the first domain takes one to three seconds more, in which
// libvirt asks QEMU what it can do.
//
// [StartHosts] makes machines of such daemons, that libvirt's remote clients reach by TCP, TLS
// and SSH, and that can be cut off. They and the tests are in network namespaces that nothing
// else is in; see [InNetwork].
package libvirttest
