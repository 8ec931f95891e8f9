//go:build linux

package initramfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
)

// EnvInit is the environment variable that names a prebuilt init program.
const EnvInit = "MAQET_INIT"

// goMod is the module that the sources are compiled in. It has the real module's path,
// so that imports work, and no dependencies: init uses the standard library only.
const goMod = "module github.com/maqet/maqet\n\ngo 1.26\n"

// InitOptions say how the init program is made.
type InitOptions struct {
	// Path of a prebuilt static program. Empty: the environment variable MAQET_INIT, and
	// if that is empty too, init is compiled.
	Path string
	// Arch of the guest by QEMU's name. Empty: "x86_64".
	Arch string
	// Go is the go command, a path or a name to find on PATH. Empty: "go".
	Go string
	// CacheDir is maqet's cache folder; programs are kept in its init/.
	CacheDir string
}

// BuildInit returns the path of the init program. src holds the sources as package guest
// has them: the program in the folder init, and the package that it imports in wire.
// They are compiled with the user's Go at the first call, which takes seconds, and again
// when they or Go change; other calls take under 1 ms. One of several callers compiles, in whatever process they are.
//
// Without a Go toolchain, or if it can't compile the sources, the error is
// errors.ErrInvalidConfiguration.
func BuildInit(ctx context.Context, src fs.FS, o InitOptions) (string, error) {
	if o.Path == "" {
		o.Path = os.Getenv(EnvInit)
	}
	if o.Path != "" {
		return prebuilt(o.Path)
	}
	goCmd, err := findGo(o.Go)
	if err != nil {
		return "", err
	}
	files, sum, err := readSources(src)
	if err != nil {
		return "", initError(err)
	}
	arch := goArch(o.Arch)
	cache := artifact.Cache{Dir: filepath.Join(o.CacheDir, "init")}
	path, err := cache.File(ctx, artifact.Recipe{
		Key:  strings.Join([]string{"init 1", sum, arch, goCmd}, "\x00"),
		Mode: 0o700,
		Make: func(ctx context.Context, w io.Writer, inputs *artifact.Inputs) error {
			if err := inputs.Add(goCmd); err != nil {
				return err
			}
			return compile(ctx, w, goCmd, arch, files)
		},
	})
	return path, initError(err)
}

func prebuilt(path string) (string, error) {
	ok, err := isStatic(path)
	if err == nil && !ok {
		err = errors.New("it is not linked statically (CGO_ENABLED=0)")
	}
	if err != nil {
		return "", &errors.Error{
			Kind: errors.ErrInvalidConfiguration, Op: "use the init program " + path, Err: err,
			Hint: "unset " + EnvInit + " to have it compiled",
		}
	}
	return filepath.Abs(path)
}

// findGo returns the path of the go command with links followed, since a change of
// version is often a change of the link.
func findGo(name string) (string, error) {
	if name == "" {
		name = "go"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", initError(err)
	}
	return path, nil
}

func initError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &errors.Error{
		Kind: errors.ErrInvalidConfiguration, Op: "build the guest's init program", Err: err,
		Hint: "install Go 1.26 (https://go.dev/dl) and have it on PATH, or set " + EnvInit + " to a prebuilt init",
	}
}

func goArch(qemu string) string {
	switch qemu {
	case "", "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "i386":
		return "386"
	case "ppc64":
		return "ppc64le"
	default:
		return qemu
	}
}

// readSources reads the Go files of src without its tests, and returns a hash of them.
func readSources(src fs.FS) (map[string][]byte, string, error) {
	files := map[string][]byte{}
	sum := sha256.New()
	err := fs.WalkDir(src, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(src, path)
		if err != nil {
			return err
		}
		files[path] = text
		one := sha256.Sum256(text)
		_, err = io.WriteString(sum, path+"\x00"+hex.EncodeToString(one[:])+"\n")
		return err
	})
	return files, hex.EncodeToString(sum.Sum(nil)), err
}

// compile writes the program that files make to w.
func compile(ctx context.Context, w io.Writer, goCmd, arch string, files map[string][]byte) (err error) {
	dir, err := os.MkdirTemp("", "maqet-init-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := writeSources(dir, files); err != nil {
		return err
	}
	out := filepath.Join(dir, "init.elf")
	cmd := exec.CommandContext(ctx, goCmd, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, "./guest/init")
	cmd.Dir = dir
	// The user's settings for other builds must not change this one; GOAMD64 and the like
	// would even make a program that the guest's CPU can't run.
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=", "GOENV=off",
		"GOTOOLCHAIN=local", "GO111MODULE=on", "GOAMD64=v1", "GOARM64=v8.0", "GORISCV64=rva20u64", "GOEXPERIMENT=", "PWD="+dir)
	// The compilers are children of the go command and have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(string(text))))
	}
	f, err := os.Open(out)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func writeSources(dir string, files map[string][]byte) error {
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(goMod), 0o600); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, "guest", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
