// Package storage makes, copies, changes, inspects and deletes disk images.
//
// A [Manager] creates images below one folder, never overwrites a file, and deletes
// nothing outside of that folder. Formats are always stated: no image is ever probed
// for its format, since a guest decides what a raw image begins with.
//
// Empty images and overlays are written here; qemu-img makes those that are preallocated or
// encrypted, and does all other work on images (QEMU manual, "QEMU disk image utility"). What
// an image is, and whether a guest can use it, is read from the heads of the files, down to the
// last base, and from the locks that QEMU programs take: see [Manager.Usable].
//
// Each file that is made is registered before it has any content ([Registry]). What takes long
// is filled under a partial name, and has its own name once it is whole: [Manager.Import],
// [Manager.Clone], [Manager.Convert] and [Manager.Compress] leave a whole image or none, also where
// the process is killed. What it leaves then is listed by [Manager.Orphans]. An operation that
// is cancelled kills its qemu-img and removes what it made.
//
// Between processes, an image that a QEMU program has open is not written, and neither is
// one that a registered image stands on, or that another operation works on; an image that is
// being written is not read. Who is refused gets an [*ImageError], of errors.ErrImageInUse,
// which says by whom the image is used.
package storage
