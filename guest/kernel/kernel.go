package kernel

import (
	"os"
	"path/filepath"
	"runtime"

	"github.com/maqet/maqet/errors"
)

// Format is the kind of file a kernel is in.
type Format string

// Formats of kernels.
const (
	BzImage Format = "bzImage" // x86: compressed, with the decompressor in front
	ELF     Format = "ELF"     // an uncompressed vmlinux
	Image   Format = "Image"   // arm64: uncompressed or gzip'ed
)

// Architectures by QEMU's names.
const (
	archX86   = "x86_64"
	archARM64 = "aarch64"
)

// Kernel is a kernel that was found. It is a value; nothing changes it later.
type Kernel struct {
	Path    string // the file, absolute
	Format  Format
	Arch    string // by QEMU's name: "x86_64", "aarch64"
	Version string // what uname -r prints in the guest: "6.1.0-9-cloud-amd64"; empty when the file does not say
	Modules string // folder that holds the modules of that version; empty when there is none
	cache   string // folder for extracted kernels
}

// Open reads what the kernel at path is. Its modules are looked for in
// MODULES/lib/modules/VERSION for each folder of modules, then beside the kernel
// (where a package was unpacked: ../lib/modules/VERSION), then in /lib/modules/VERSION.
//
// cacheDir is where [Kernel.Vmlinux] keeps what it extracts; empty: [DefaultCacheDir].
// A file that is no kernel, or a damaged one, is errors.ErrInvalidConfiguration.
func Open(path, cacheDir string, modules ...string) (Kernel, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Kernel{}, invalid(path, err)
	}
	k, err := identify(abs)
	if err != nil {
		return Kernel{}, invalid(path, err)
	}
	k.cache = cacheDir
	if k.Version != "" {
		k.Modules = findModules(k.Version, append(modules, roots(abs)...))
	}
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
	default:
		return runtime.GOARCH
	}
}

func invalid(path string, err error) error {
	return &errors.Error{
		Kind: errors.ErrInvalidConfiguration, Op: "read kernel " + path, Err: err,
		Hint: "give a bzImage, a vmlinux or an arm64 Image",
	}
}
