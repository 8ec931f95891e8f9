// Package libvirt tests guests on libvirt hosts that are not this one: two hosts in network
// namespaces, reached by TLS, TCP and SSH, moves from one to the other, and hosts that vanish.
// See internal/libvirttest for how they are made.
package libvirt
