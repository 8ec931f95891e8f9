// Package snapshots tests what becomes of snapshots when something dies at the worst moment:
// the process that uses maqet, QEMU, or a qemu-img; when a file system is full; and when
// two processes work on one VM. Its guests have no system, unless a test says so: disks are
// written and read from outside, so that hundreds of faults take minutes.
package snapshots
