// Package kernel finds Linux kernels for guests, reads what they are, and extracts the
// uncompressed kernel that boots fastest.
//
// [Find] looks, in this order, at
//
//  1. the path that is given (Config.Boot.Kernel),
//  2. the environment variable MAQET_KERNEL,
//  3. kernels/ARCH/VERSION/boot/vmlinuz-VERSION below the cache folder
//     ($XDG_CACHE_HOME/maqet, else ~/.cache/maqet), newest version first; this is where
//     scripts/setup.sh unpacks a kernel,
//  4. /boot/vmlinuz-VERSION of the host, newest version first, if it can be read: on
//     Ubuntu only root can.
//
// # Why the uncompressed kernel
//
// A distribution's kernel is a bzImage: a small program that decompresses the kernel
// proper. Emulated by TCG, that program is the largest single part of a boot.
// [Kernel.Vmlinux] decompresses the kernel once on the host; QEMU then starts it through
// its PVH entry point (Linux, Documentation/arch/x86/boot.rst, and the Xen document "x86/HVM
// direct boot ABI"). Kernels that were built without CONFIG_PVH have none: [ErrNoPVH].
package kernel
