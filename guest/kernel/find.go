package kernel

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
)

// EnvKernel is the environment variable that names the kernel to use when none is
// configured.
const EnvKernel = "MAQET_KERNEL"

// Options say which kernel is wanted. The zero value finds one for the host's
// architecture.
type Options struct {
	// Path is a kernel to use, and no other. Empty or "auto": find one.
	Path string
	// Arch by QEMU's name. Empty: the host's.
	Arch string
	// Modules is a folder that holds lib/modules/VERSION. Empty: see [Open].
	Modules string
	// CacheDir is maqet's cache folder. Empty: [DefaultCacheDir].
	CacheDir string
	// BootDir replaces /boot, for tests. Empty: /boot.
	BootDir string
}

// Find returns a kernel as the package's documentation says. When there is none, or the
// one that is named is missing, damaged or for another architecture, the error is
// errors.ErrKernelNotFound and says which command gets one.
//
// It reads only the heads of files and is fast enough to be called for each boot.
func Find(ctx context.Context, o Options) (Kernel, error) {
	if o.Arch == "" {
		o.Arch = HostArch()
	}
	if o.BootDir == "" {
		o.BootDir = "/boot"
	}
	if o.CacheDir == "" {
		dir, err := DefaultCacheDir()
		if err != nil {
			return Kernel{}, err
		}
		o.CacheDir = dir
	}
	if o.Path != "" && o.Path != "auto" {
		return o.named(ctx, o.Path, "Config.Boot.Kernel")
	}
	if path := os.Getenv(EnvKernel); path != "" {
		k, err := o.named(ctx, path, EnvKernel)
		// It says what guests of this host's architecture boot, and of others if it can.
		if o.Arch == HostArch() || err == nil {
			return k, err
		}
	}
	for _, path := range append(o.cached(), o.installed()...) {
		if err := ctx.Err(); err != nil {
			return Kernel{}, err
		}
		// One that can't be read or is damaged is passed over: another may do.
		if k, err := Open(ctx, path, o.CacheDir, o.Modules); err == nil && k.Arch == o.Arch {
			return k, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return Kernel{}, err
	}
	return Kernel{}, &errors.Error{
		Kind: errors.ErrKernelNotFound, Op: "find a kernel",
		Msg:  "none for " + o.Arch + " below " + filepath.Join(o.CacheDir, "kernels") + " or readable in " + o.BootDir,
		Hint: hint(o.Arch),
	}
}

// packages are Debian's names of the smallest kernel for guests.
var packages = map[string]string{
	archX86: "linux-image-cloud-amd64", archARM64: "linux-image-cloud-arm64", archRISCV: "linux-image-riscv64",
}

// hint says how to get a kernel.
func hint(arch string) string {
	get := "run `make setup` or scripts/setup.sh in maqet's source, or on Debian `apt-get install " + packages[arch] + "`"
	if arch != HostArch() {
		get = "run `scripts/setup.sh --arch " + arch + "` in maqet's source, which gets Debian's " + packages[arch]
	}
	return get + ", or set Config.Boot.Kernel or " + EnvKernel + " to a kernel's path"
}

// named opens the kernel that the user named in setting.
func (o Options) named(ctx context.Context, path, setting string) (Kernel, error) {
	k, err := Open(ctx, path, o.CacheDir, o.Modules)
	if err != nil {
		return Kernel{}, &errors.Error{
			Kind: errors.ErrInvalidConfiguration, Op: "use " + setting, Err: err, Hint: hint(o.Arch),
		}
	}
	if k.Arch != o.Arch {
		return Kernel{}, &errors.Error{
			Kind: errors.ErrInvalidConfiguration, Op: "use " + setting,
			Msg:  "kernel " + path + " is for " + k.Arch + ", the guest is " + o.Arch,
			Hint: "set Config.Arch, or give another kernel",
		}
	}
	return k, nil
}

// cached lists the kernels in the cache folder, newest version first.
func (o Options) cached() []string {
	dirs := []string{o.CacheDir}
	if def, err := DefaultCacheDir(); err == nil && def != o.CacheDir {
		dirs = append(dirs, def) // where scripts/setup.sh unpacks
	}
	var out []string
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), "kernels", o.Arch, "*", "boot", "vmlinu[xz]-*"))
		out = append(out, found...)
	}
	newestFirst(out)
	return out
}

// installed lists the kernels of the host, newest version first.
func (o Options) installed() []string {
	out, _ := filepath.Glob(filepath.Join(escapeGlob(o.BootDir), "vmlinu[xz]-*"))
	newestFirst(out)
	return out
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func newestFirst(paths []string) {
	slices.SortStableFunc(paths, func(a, b string) int {
		return compareVersions(version(b), version(a))
	})
}

// version returns what follows vmlinuz- or vmlinux- in a path.
func version(path string) string {
	_, v, _ := strings.Cut(filepath.Base(path), "-")
	return v
}

// compareVersions orders as people do: runs of digits by value, the rest by bytes.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, y := chunk(a), chunk(b)
		a, b = a[len(x):], b[len(y):]
		if isDigit(x[0]) && isDigit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

// chunk returns the run of digits, or of anything else, that s begins with.
func chunk(s string) string {
	digits := isDigit(s[0])
	for i := range len(s) {
		if isDigit(s[i]) != digits {
			return s[:i]
		}
	}
	return s
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
