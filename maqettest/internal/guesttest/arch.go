package guesttest

import (
	"debug/elf"
	"fmt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/internal/ldso"
	"github.com/maqet/maqet/vm"
)

// archs are QEMU's names of processors.
var archs = map[elf.Machine]string{elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64", elf.EM_RISCV: "riscv64"}

// Arch returns the architecture that a program is for, by QEMU's name; "" if it is a script.
// errors.ErrInvalidConfiguration if there are no guests for it.
func Arch(path string) (string, error) {
	op := "run " + path + " in a guest"
	f, err := ldso.Open(path)
	if err != nil {
		return "", errors.Wrap(errors.ErrInvalidConfiguration, op, "", err)
	}
	if f == nil {
		return "", nil
	}
	defer f.Close()
	arch := archs[f.Machine]
	if arch == "" || f.Class != elf.ELFCLASS64 {
		return "", &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op,
			Msg:  fmt.Sprintf("it is a program for %s, %s", f.Machine, f.Class),
			Hint: "build it for amd64, arm64 or riscv64 (GOARCH)"}
	}
	return arch, nil
}

// checkArch refuses a program that the processor of a guest can't run.
func checkArch(path string, inst vm.Instance) error {
	has := inst.Config.Arch
	if has == "" {
		has = kernel.HostArch()
	}
	needs, err := Arch(path)
	if err != nil || needs == "" || needs == has {
		return err
	}
	return &errors.Error{
		Kind: errors.ErrInvalidConfiguration, Op: "run " + path + " in VM", VM: inst.Name,
		Msg:  "it is a program for " + needs + ", and the guest is " + has,
		Hint: "build it for the guest (GOARCH), or choose the guest's Config.Arch",
	}
}
