// Command init is the first process of maqet's default guest.
//
// It mounts the kernel's file systems, loads the modules that the initramfs
// lists and the devices ask for, and then serves two protocols over
// virtio-serial: the QEMU guest agent's on the port org.qemu.guest_agent.0, so that any
// tool can talk to the guest, and package wire's on org.maqet.stream.0 and .1, where
// output and file trees stream. It reaps orphans, brings CPUs and memory that are
// plugged into use, powers off at the power button, and gives a person at the console
// a shell when there is one.
//
// Everything waits for events; an idle guest uses no CPU time. Only the
// standard library is used, and of that only what starts fast: every block of
// code that runs at boot has to be translated first when the CPU is emulated.
//
// In a guest with another init the program has one use: run with the argument "individualize"
// it gives the guest the identity that it reads from its standard input, in the form that
// package wire has for it, and exits.
//
// # What it reads
//
//   - /etc/maqet/modules.required: paths of kernel modules, one a line, loaded
//     in this order at boot.
//   - /etc/maqet/modules.alias: lines "PATTERN PATH [DEPENDENCY...]": the
//     module at PATH, after its dependencies in their order, for devices whose
//     modalias matches the pattern, or with "fs-NAME" for the file system NAME.
//   - /proc/cmdline: maqet.hostname=NAME sets the host name; each
//     maqet.share=TYPE,MODE,TAG,TARGET mounts a folder of the host: TYPE is a file system,
//     MODE "ro" or "rw", other characters of TAG and TARGET than letters, digits, '/', '.',
//     '_' and '-' are written as % and two hexadecimal digits. One that can't be mounted
//     powers the machine off.
package main
