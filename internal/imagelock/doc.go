// Package imagelock looks at the locks by which QEMU programs keep each other from spoiling
// an image. Each permission that a program has, or does not share with others, is a lock on
// one byte (QEMU, block/file-posix.c, RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE; the
// permissions are in block-common.h). It takes such locks, too, for who reads an image without
// QEMU, and has one of maqet's own for who has one written: see [Hold].
package imagelock

// Use is what somebody does with an image, as far as it keeps others from it.
type Use int

// Uses, the stronger after the weaker.
const (
	None    Use = iota // nobody is in the way
	Reading            // it is open, and may not be written
	Writing            // it is open for writing, or kept from readers
)

// Holder is a process that has an image open and locked.
type Holder struct {
	PID     int
	Program string // its name, at most 15 characters
}
