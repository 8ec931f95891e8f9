// Package wire is the protocol between a host program and maqet's own init
// inside a guest: many commands and file transfers side by side over one byte
// stream, usually a virtio-serial port.
//
// The QEMU guest agent's protocol carries files as base64 inside JSON and has
// a program's exit polled for. This one streams: a command's output arrives as
// it is written, its exit status when it exits, and a file tree travels as one
// stream at the speed of the port.
//
// # Sessions
//
// A port outlives the programs that use it, so each [Session] starts with a
// sync: 64 KiB of zero bytes, which complete whatever frame an earlier host left
// half written, a magic, a nonce, the host's clock and random bytes. The guest
// ends what the earlier host started (its programs are killed), then answers
// with the nonce. Both sides skip everything before the magic. The host may
// write its sync before the guest has booted: the bytes wait, and the answer
// is the event "the guest is ready".
//
// # Frames
//
// After the sync both sides send frames: a header of 12 bytes (marker 0xA7,
// type, pipe, zero, stream as uint32, payload length as uint32, little endian),
// at most [MaxPayload] bytes and a trailer byte. A frame that breaks these rules
// ends the session, never the port.
//
// # Streams
//
// Each operation is a stream that the host opens and the guest ends with its
// result. A stream carries one pipe of bytes to the guest (standard input, an
// upload) and two back (standard output or a download, standard error). Each
// pipe has a window of [Window] bytes which the reader grants anew as it consumes:
// a reader that stalls holds up its own pipe and nothing else, and neither side
// ever buffers more than a window for each pipe.
//
// The package needs only the standard library, because its sources are compiled
// into the guest's init where no module is available.
package wire
