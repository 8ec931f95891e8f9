// Package libvirtrpc speaks libvirt's RPC where go-libvirt can't: streams in both directions, and
// events without data.
//
// A connection does one thing only: it is one stream, or it has all events of a host. So there is
// nothing to multiplex: calls are made one after the other before a connection is put to its use.
//
// Each message is a length, a header of six numbers and a payload in XDR (RFC 4506). libvirt
// documents them in "libvirt RPC infrastructure" (docs/kbase/internals/rpc.rst) and declares them
// in src/rpc/virnetprotocol.x, src/remote/remote_protocol.x and src/remote/qemu_protocol.x.
package libvirtrpc
