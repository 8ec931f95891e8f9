//go:build linux

// Package segment joins virtual machines to private Ethernet segments, without rights.
//
// A segment is a folder. Each network card on it is a unix datagram socket there, which
// its QEMU makes and sends from (QEMU manual, -netdev dgram with local.type=unix), and all
// of them send to one more socket, the switch's. The switch passes each frame on as an
// Ethernet switch does: to the card that has the address, once that has sent something,
// else to all others.
//
// The switch is some goroutines of one process, the one that holds the segment's lock file. A
// [Member] is a process that will take over when that process ends, however it ends.
// Datagrams need no connection, so the machines don't notice but for the frames that are
// sent meanwhile, which are lost, as on any Ethernet. Stream sockets would be as fast, but
// QEMU 7.2 does not connect to another switch when the first one has gone.
//
// Nobody but the folder's owner can reach the sockets. Among themselves the machines are
// not protected: as on a real segment, each can send with the address of another.
package segment
