package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

// versionTime bounds asking a program for its version.
const versionTime = 15 * time.Second

// checkQEMU looks for QEMU as a VM without a binary of its own would, and for KVM.
func checkQEMU(ctx context.Context, where folders) (checks []check) {
	for _, arch := range []string{"x86_64", "aarch64", "riscv64"} {
		name := "qemu-system-" + arch
		path := name
		if arch == kernel.HostArch() && os.Getenv("MAQET_QEMU") != "" {
			path = os.Getenv("MAQET_QEMU")
		}
		version, err := versionOf(ctx, path)
		switch {
		case err == nil:
			checks = append(checks, good(name, "%s", version))
		case arch != kernel.HostArch():
			checks = append(checks, check{Name: name, Verdict: verdictAbsent, Detail: "guests of this architecture can't be run"})
		}
	}
	return append(checks, checkPlain(ctx, where)...)
}

// checkPlain asks the library itself whether a plain VM can be run, and why not by KVM.
func checkPlain(ctx context.Context, where folders) []check {
	const name, id = "plain VM", "00000000-0000-4000-8000-000000000000"
	backend, err := process.New(process.Options{RuntimeDir: where.runtime, LogDir: filepath.Join(where.data, "vms"), CacheDir: where.cache})
	if err != nil {
		return []check{bad(name, err, "")}
	}
	defer func() { _ = backend.Close() }()
	if err := backend.Check(ctx, id, vm.Config{Name: "doctor"}); err != nil {
		return []check{bad(name, err, "")}
	}
	checks := []check{good(name, "QEMU and its default machine are there")}
	err = backend.Check(ctx, id, vm.Config{Name: "doctor", Accel: "kvm"})
	var refused *errors.ConfigError
	switch {
	case err == nil:
		return append(checks, good("KVM", "guests run at full speed"))
	case errors.As(err, &refused) && refused.Has("accel"):
		return append(checks, check{Name: "KVM", Verdict: verdictWarning, Detail: refused.Problems[0].Message,
			Do: "guests are emulated, which is slower; allow /dev/kvm to this user, or virtualisation in the firmware or the host around"})
	}
	return append(checks, bad("KVM", err, ""))
}

func checkImages(ctx context.Context, _ folders) []check {
	version, err := versionOf(ctx, ifEmpty(os.Getenv("MAQET_QEMU_IMG"), "qemu-img"))
	if err != nil {
		return []check{bad("qemu-img", err, "install it (on Debian qemu-utils), or set MAQET_QEMU_IMG")}
	}
	return []check{good("qemu-img", "%s", version)}
}

func checkKernel(ctx context.Context, where folders) []check {
	k, err := kernel.Find(ctx, kernel.Options{CacheDir: where.cache})
	if err != nil {
		return []check{bad("guest kernel", err, "")}
	}
	return []check{good("guest kernel", "%s %s", k.Path, k.Version)}
}

// checkGuest builds what the default guest boots from, which needs Go the first time.
func checkGuest(ctx context.Context, where folders) []check {
	begun := time.Now()
	if _, err := guest.NewBooter(guest.BooterOptions{CacheDir: where.cache}).ResolveBoot(ctx, vm.Config{}); err != nil {
		return []check{bad("default guest", err, "")}
	}
	return []check{good("default guest", "its RAM disk was ready in %.1f s", time.Since(begun).Seconds())}
}

func (a *app) checkStore(ctx context.Context, _ folders) []check {
	m, err := a.open()
	if err != nil {
		return []check{bad("records", err, "")}
	}
	defer func() { _ = m.Close() }()
	list, err := m.VM.List(ctx, vm.Filter{})
	if err != nil {
		return []check{bad("records", err, "")}
	}
	return []check{good("records", "%d VMs", len(list)), checkLeft(ctx, m)}
}

func checkLeft(ctx context.Context, m *maqet.Maqet) check {
	gone, wrong, err := leftovers(ctx, m)
	switch {
	case err != nil:
		return bad("leftovers", err, "")
	case len(gone)+len(wrong) > 0:
		return check{Name: "leftovers", Verdict: verdictWarning, Do: "run 'maqetctl cleanup'",
			Detail: fmt.Sprintf("%d VMs of processes that are gone, %d wrong records", len(gone), len(wrong))}
	}
	return good("leftovers", "none")
}

// checkHelpers looks for programs that only some VMs need.
func checkHelpers(ctx context.Context, _ folders) (checks []check) {
	for _, h := range []struct{ name, what, folder string }{
		{"virtiofsd", "shares of type virtiofs", "/usr/lib/qemu:/usr/libexec"},
		{"swtpm", "TPMs", ""},
		{"passt", "networks of type passt", ""},
	} {
		path, err := lookIn(h.name, h.folder)
		if err != nil {
			checks = append(checks, check{Name: h.name, Verdict: verdictAbsent, Detail: "needed for " + h.what, Do: "install it to use them"})
			continue
		}
		checks = append(checks, good(h.name, "%s", path))
	}
	return checks
}

// lookIn finds a program on PATH or in folders that are not on it.
func lookIn(name, folders string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range filepath.SplitList(folders) {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// versionOf is a program's path and the first line that it prints about itself.
func versionOf(ctx context.Context, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.Wrap(errors.ErrQEMUNotFound, "find "+name, "", err)
	}
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", errors.Wrap(errors.ErrQEMUNotFound, "run "+path, "", err)
	}
	return path + " " + firstLine(string(out)), nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
