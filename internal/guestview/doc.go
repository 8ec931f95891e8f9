// Package guestview is what a guest sees of a configuration, whatever runs it: the names and
// addresses of its network cards, its kernel command line, the order in which its firmware
// tries disks. Backends share it, so that a guest does not notice which one it is on.
package guestview
