// Package storage makes, inspects and deletes disk images.
//
// A [Manager] creates images below one folder, never overwrites a file, and deletes
// nothing outside of that folder. Formats are always stated: no image is ever probed
// for its format, since a guest decides what a raw image begins with.
//
// Empty images and overlays are written here; qemu-img makes those that are preallocated or
// encrypted, and does all other work on images (QEMU manual, "QEMU disk image utility"). What
// an image is, and whether a guest can use it, is read from the heads of the files, down to the
// last base, and from the locks that QEMU programs take: see [Manager.Usable].
package storage
