// Package qmp talks to QEMU over its machine protocol (QEMU manual, "QEMU Machine
// Protocol Specification").
package qmp
