package process

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/vm"
)

const tpmID = "tpm"

// tpm adds a TPM that swtpm emulates (QEMU's docs/specs/tpm.rst, "The QEMU TPM emulator
// device").
func (b *builder) tpm() {
	cfg := b.spec.Config.TPM
	if cfg == nil {
		return
	}
	driver := b.tpmDriver(cfg)
	if b.host.swtpm == "" {
		b.problem("tpm", "", "needs the program swtpm, which is not on PATH", "install the package swtpm, or leave tpm out")
	}
	if driver == "" {
		return
	}
	fd := b.helper(swtpmPlan(b.host.swtpm, b.spec.StateDir, cfg.Version))
	b.add(keyed("chardev", tpmID, "tpm", "", "socket", "id", tpmID, "fd", fd))
	b.add(keyed("tpmdev", "", "tpm", "", "emulator", "id", tpmID, "chardev", tpmID))
	b.json("device", tpmID, "tpm", props{"driver": driver, "id": tpmID, "tpmdev": tpmID})
}

// tpmDriver returns the device for the machine.
func (b *builder) tpmDriver(cfg *vm.TPM) string {
	x86 := b.host.arch == "x86_64"
	model := cfg.Model
	if model == "" {
		model = vm.TPMTIS
		if x86 && cfg.Version != vm.TPM12 {
			model = vm.TPMCRB
		}
	}
	switch {
	case b.host.microvm():
		b.problem("tpm", "", "can't be had on a microvm, which does not tell its guest of one", "leave it out, or use another machine")
	case x86:
		return "tpm-" + model
	case model == vm.TPMTIS:
		return "tpm-tis-device"
	default:
		b.problem("tpm.model", model, "exists on x86_64 only", "use tis, or leave it out")
	}
	return ""
}

// swtpmPlan runs swtpm on a folder: by its descriptor, because swtpm's options end at a
// comma, and there is no way to write one.
func swtpmPlan(program, stateDir, version string) helperPlan {
	args := []string{program, "socket", "--tpmstate", "dir=/proc/self/fd/" + strconv.Itoa(helperFD+1) + ",mode=0600",
		"--ctrl", "type=unixio,clientfd=" + strconv.Itoa(helperFD), "--terminate"}
	if cmp.Or(version, vm.TPM20) == vm.TPM20 {
		args = append(args, "--tpm2")
	}
	return helperPlan{name: "swtpm", log: "swtpm", args: args, open: func(context.Context) ([]*os.File, error) {
		dir, err := openState(filepath.Join(stateDir, "tpm"))
		if err != nil {
			return nil, err
		}
		return []*os.File{dir}, nil
	}}
}

// openState opens a folder for a helper's secrets, which nobody else can look into. It makes
// it first if need be.
func openState(dir string) (*os.File, error) {
	if err := ownDir(dir); err != nil {
		return nil, err
	}
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// findSwtpm returns the path of swtpm, empty if there is none.
func findSwtpm() string {
	path, err := exec.LookPath("swtpm")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return ""
	}
	return path
}
