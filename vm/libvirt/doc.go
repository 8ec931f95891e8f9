// Package libvirt runs guests as domains of libvirt, on this host or another. It is a
// vm.Backend: states, calls and reports are those of every other one.
package libvirt
