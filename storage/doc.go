// Package storage makes, inspects and deletes disk images.
//
// A [Manager] creates images below one folder, never overwrites a file, and deletes
// nothing outside of that folder. Formats are always stated: no image is ever probed
// for its format, since a guest decides what a raw image begins with.
//
// qemu-img does the work on qcow2 images (QEMU manual, "QEMU disk image utility").
package storage
