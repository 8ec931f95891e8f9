package qmptest

import "slices"

// Option changes how [NewServer] and [NewAgent] make a server.
type Option func(*options)

type options struct {
	major, minor, micro int
	pkg                 string
	capabilities        []string
	tcp                 bool
	one                 bool
	agent               bool
}

// Version sets the version that the server says it has. Default: 7.2.22.
func Version(major, minor, micro int) Option {
	return func(o *options) { o.major, o.minor, o.micro = major, minor, micro }
}

// Package sets the distribution's name for the version. Default: empty.
func Package(name string) Option { return func(o *options) { o.pkg = name } }

// Capabilities sets what the greeting offers; no name at all means nothing. Only "oob"
// has a meaning. Default: "oob".
func Capabilities(names ...string) Option {
	return func(o *options) { o.capabilities = slices.Clone(names) }
}

// TCP makes the server listen on a port of 127.0.0.1 instead of a unix socket. Files
// can't be passed over it.
func TCP() Option { return func(o *options) { o.tcp = true } }

// OneClient makes the server serve one client at a time, as a monitor of QEMU does:
// the next one can connect, but nobody greets it before the first one has gone.
// Default: any number at once, as if QEMU had a monitor for each.
func OneClient() Option { return func(o *options) { o.one = true } }
