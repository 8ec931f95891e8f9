//go:build arm64 || riscv64

package main

// sysFinitModule is the same for all architectures that Linux got after 2012
// (include/uapi/asm-generic/unistd.h).
const sysFinitModule = 273
