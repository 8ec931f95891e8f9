// Package initramfs builds the initial RAM disk of the default guest: an init
// program, the kernel modules that it loads, busybox, and the user's own files, as a
// cpio archive of the kind that Linux unpacks (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). Nothing has to be
// installed for it besides busybox, no root rights are needed, and the same inputs
// give the same bytes.
//
// # What is in it
//
//   - /init, a static program; [BuildInit] compiles the one that comes with maqet;
//   - /dev/console and /dev/null, the folders that a system needs, and small files in /etc:
//     passwd, group, hostname, hosts and a resolv.conf for QEMU's user-mode network;
//   - busybox and a link for each of its applets in /bin, when the host has a static one. /sbin,
//     /usr/bin and /usr/sbin are links to /bin, /usr/lib is one to /lib;
//   - modules at /lib/modules/VERSION, uncompressed, with a modules.dep and a modules.alias
//     that list just these, so that modprobe works;
//   - the user's files. A program that is linked dynamically brings its libraries along.
//
// # What init reads
//
// Which modules are there and in which order they load is decided here, when the
// archive is built, so that init needs no knowledge of modules:
//
//   - [RequiredFile]: modules without which the host can't reach the guest, one absolute path a
//     line, in the order in which to load them;
//   - [AliasFile]: modules for devices that may be there. A line is "PATTERN PATH [NEEDED...]":
//     a pattern of fnmatch(3) for the content of a modalias file below /sys/devices, such as
//     "virtio:d00000002v*", the absolute path of the module that drives the device, and those
//     of the modules that load before it, in their order.
//
// A module may be on several lines, or be loaded already (EEXIST): that is no error.
package initramfs
