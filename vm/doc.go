// Package vm defines virtual machines, starts and stops them, and keeps the truth
// about the state each is in.
//
// [Manager] is the one way in. It records instances in a [Store] and runs them on
// a [Backend]; both are interfaces declared here and implemented in packages
// below: vm/sqlite and vm/memory, vm/process and vm/libvirt.
//
// # States
//
//	created -> starting -> running <-> paused -> stopping -> stopped
//
// failed is reached from any live state. Every change is a compare-and-set in the
// store, so that of two processes only one starts a VM, and each carries a reason.
//
// # References
//
// Wherever a parameter is called ref it takes a VM's name or its ID.
package vm
