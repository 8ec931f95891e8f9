// Package kvm says whether KVM can run a guest on this host.
package kvm

import (
	"bytes"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// Requests of /dev/kvm (Linux, include/uapi/linux/kvm.h).
const (
	kvmGetAPIVersion = 0xAE00
	kvmCreateVM      = 0xAE01
	kvmAPIVersion    = 12 // the only one there ever was
)

// Check tries what a guest needs. That /dev/kvm opens is not enough: there are
// machines where it does, and a VM can be created, but guests hang, because the
// processor that the host itself runs on has no virtualisation to offer.
func Check() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/kvm", Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	if version, err := unix.IoctlRetInt(fd, kvmGetAPIVersion); err != nil || version != kvmAPIVersion {
		return fmt.Errorf("/dev/kvm has version %d: %w", version, errors.Join(err, errors.New("12 is needed")))
	}
	vm, err := unix.IoctlRetInt(fd, kvmCreateVM)
	if err != nil {
		return fmt.Errorf("/dev/kvm: create a VM: %w", err)
	}
	if err := unix.Close(vm); err != nil {
		return err
	}
	if runtime.GOARCH != "amd64" {
		return nil
	}
	return checkFlags("/proc/cpuinfo")
}

// checkFlags looks for the processor's virtualisation, Intel's or AMD's.
func checkFlags(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(data) {
		key, flags, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(bytes.TrimSpace(key)) != "flags" {
			continue
		}
		for _, flag := range bytes.Fields(flags) {
			if string(flag) == "vmx" || string(flag) == "svm" {
				return nil
			}
		}
		return errors.New("/dev/kvm opens, but the processor shows neither vmx nor svm, so guests would hang")
	}
	return errors.New("the processor's flags are not known")
}
