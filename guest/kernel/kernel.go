package kernel

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"github.com/maqet/maqet/errors"
)

// Format is the kind of file a kernel is in.
type Format string

// Formats of kernels.
const (
	BzImage   Format = "bzImage"  // x86: compressed, with the decompressor in front
	ELF       Format = "ELF"      // x86: an uncompressed vmlinux
	Image     Format = "Image"    // arm64 and riscv64: uncompressed
	ImageGzip Format = "Image.gz" // the same, compressed; QEMU unpacks arm64's itself, riscv64's not
	ZBoot     Format = "zboot"    // the same inside an EFI program that unpacks it (vmlinuz.efi)
)

// Architectures by QEMU's names.
const (
	archX86   = "x86_64"
	archARM64 = "aarch64"
	archRISCV = "riscv64"
)

// Kernel is a kernel that was found. It is a value; nothing changes it later.
type Kernel struct {
	Path    string // the file, absolute
	Format  Format
	Arch    string // by QEMU's name: "x86_64", "aarch64", "riscv64"
	Version string // what uname -r prints in the guest: "6.1.0-9-cloud-amd64"; empty when the file does not say
	Modules string // folder that holds the modules of that version; empty when there is none
	cache   string // folder for extracted kernels
	plain   string // the uncompressed kernel, of a packed Image
}

// Open reads what the kernel at path is. Its modules are looked for in
// MODULES/lib/modules/VERSION for each folder of modules, then beside the kernel
// (where a package was unpacked: ../lib/modules/VERSION), then in /lib/modules/VERSION.
//
// cacheDir is where [Kernel.Vmlinux] keeps what it extracts; empty: [DefaultCacheDir]. A
// compressed Image is extracted at once, since nothing else says what it is.
//
// A file that is no kernel, or a damaged one, is errors.ErrInvalidConfiguration.
func Open(ctx context.Context, path, cacheDir string, modules ...string) (Kernel, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, invalid(path, err)
	}
	k, err := identify(abs)
	if err != nil {
		return Kernel{}, invalid(path, err)
	}
	k.cache = cacheDir
	if k.Format == ImageGzip || k.Format == ZBoot {
		if k, err = k.unpacked(ctx); err != nil {
			return Kernel{}, err
		}
	}
	if k.Version != "" {
		k.Modules = findModules(k.Version, append(modules, roots(abs)...))
	}
	return k, nil
}

// unpacked extracts a compressed Image and reads what it is.
func (k Kernel) unpacked(ctx context.Context) (Kernel, error) {
	plain, err := k.extracted(ctx)
	if err != nil {
		return Kernel{}, err
	}
	inner, err := identify(plain)
	if err != nil {
		return Kernel{}, invalid(k.Path, err)
	}
	k.Arch, k.Version, k.plain = inner.Arch, inner.Version, plain
	return k, nil
}

// roots returns the folders that may hold lib/modules for the kernel at path.
func roots(path string) []string {
	dir := filepath.Dir(path)
	return []string{dir, filepath.Dir(dir), "/"}
}

func findModules(version string, roots []string) string {
	for _, root := range roots {
		if root == "" {
			continue
		}
		for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
			dir := filepath.Join(root, lib, version)
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				return dir
			}
		}
	}
	return ""
}

// DefaultCacheDir is the maqet folder in the user's cache folder:
// $XDG_CACHE_HOME/maqet, else ~/.cache/maqet.
func DefaultCacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", &errors.Error{
			Kind: errors.ErrInvalidConfiguration, Op: "find the cache folder", Err: err,
			Hint: "set XDG_CACHE_HOME or HOME",
		}
	}
	return filepath.Join(dir, "maqet"), nil
}

// HostArch returns the architecture of this host by QEMU's name.
func HostArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return archX86
	case "arm64":
		return archARM64
	case "riscv64":
		return archRISCV
	default:
		return runtime.GOARCH
	}
}

func invalid(path string, err error) error {
	return &errors.Error{
		Kind: errors.ErrInvalidConfiguration, Op: "read kernel " + path, Err: err,
		Hint: "give a bzImage or vmlinux for x86_64, an Image for aarch64 and riscv64",
	}
}
