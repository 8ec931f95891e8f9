// Package kernel finds Linux kernels for guests, reads what they are, and extracts the
// uncompressed kernel that boots fastest.
//
// [Find] looks, in this order, at
//
//  1. the path that is given (Config.Boot.Kernel),
//  2. the environment variable MAQET_KERNEL, if its kernel is for the guest's
//     architecture or the guest has the host's,
//  3. kernels/ARCH/VERSION/boot/vmlinuz-VERSION (riscv64: vmlinux-VERSION) below the cache folder
//     ($XDG_CACHE_HOME/maqet, else ~/.cache/maqet), newest version first; this is where
//     scripts/setup.sh unpacks a kernel,
//  4. /boot/vmlinuz-VERSION of the host, newest version first, if it can be read: on
//     Ubuntu only root can.
//
// # Why the uncompressed kernel
//
// A distribution's kernel for x86 is a bzImage: a small program that decompresses the kernel
// proper. Emulated by TCG, that program is the largest single part of a boot.
// [Kernel.Vmlinux] decompresses the kernel once on the host; QEMU then starts it through
// its PVH entry point (Linux, Documentation/arch/x86/boot.rst, and the Xen document "x86/HVM
// direct boot ABI"). Kernels that were built without CONFIG_PVH have none: [ErrNoPVH].
//
// For aarch64 and riscv64 Debian has an uncompressed Image, which QEMU starts as it is.
// Others compress it with gzip (Ubuntu), which QEMU 7.2 unpacks at each start for aarch64
// only, or pack it into an EFI program (Fedora; CONFIG_EFI_ZBOOT), which QEMU knows from
// 8.0: these are unpacked once, too.
package kernel
