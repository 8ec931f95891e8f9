// Package libvirtrpc speaks libvirt's RPC where go-libvirt can't: streams in both directions, and
// events without data.
package libvirtrpc
