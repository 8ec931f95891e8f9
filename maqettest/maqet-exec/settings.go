package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/kernel"
	"github.com/maqet/maqet/maqettest/internal/guesttest"
	"github.com/maqet/maqet/vm"
)

// envFlags is the environment variable with more flags.
const envFlags = "MAQET_EXEC_FLAGS"

// defaultMemory is enough for a test binary with -race; a fork only takes what it uses of it.
const defaultMemory = 512 * vm.MiB

// settings are what the command line says.
type settings struct {
	program guesttest.Program
	config  vm.Config
	dir     string // of templates and forks
	boot    bool
	verbose bool
	log     io.Writer
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// errUsage says that the command line is wrong, which the user has been told.
var errUsage = errors.New("usage")

// parse reads the command line and the environment.
func parse(args, environ []string, stderr io.Writer) (*settings, error) {
	s := &settings{log: stderr, config: vm.Config{Memory: defaultMemory}}
	var env, files list
	flags := flag.NewFlagSet("maqet-exec", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: maqet-exec [flags] PROGRAM [ARGUMENT...]\nIt runs PROGRAM in a guest, for go test -exec. Flags:")
		flags.PrintDefaults()
	}
	flags.TextVar(&s.config.Memory, "memory", s.config.Memory, "memory of the guest")
	flags.IntVar(&s.config.CPU.Count, "cpus", 1, "`number` of the guest's processors")
	flags.StringVar(&s.config.Boot.Kernel, "kernel", "", "`path` of the guest's kernel (default: one that is found)")
	flags.StringVar(&s.config.Machine, "machine", "", "QEMU's machine `type`")
	flags.Var(&env, "env", "pass the variable `NAME[=VALUE]` on, as well; may be repeated")
	flags.Var(&files, "copy", "copy the file or folder at `path` into the guest, to the same path; may be repeated")
	flags.StringVar(&s.dir, "dir", "", "`folder` of the templates (default: maqet/exec in the user's cache folder)")
	flags.BoolVar(&s.boot, "boot", false, "boot a guest instead of forking the template")
	flags.BoolVar(&s.verbose, "v", false, "say what is done, on standard error")
	given := append(strings.Fields(lookup(environ, envFlags)), args...)
	if err := flags.Parse(given); err != nil {
		return nil, errUsage
	}
	if flags.NArg() == 0 {
		_, _ = fmt.Fprintln(stderr, "maqet-exec: no program is given")
		flags.Usage()
		return nil, errUsage
	}
	return s, s.complete(flags.Args(), environ, env, files)
}

// complete fills in what the flags leave open.
func (s *settings) complete(args, environ, env, files []string) error {
	path, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if s.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		s.dir = filepath.Join(cache, "maqet", "exec")
	}
	if s.config.Boot.Kernel != "" {
		if s.config.Boot.Kernel, err = filepath.Abs(s.config.Boot.Kernel); err != nil {
			return err
		}
	}
	if s.config.Arch, err = guesttest.Arch(path); err != nil {
		return err
	}
	if s.config.Arch == "" {
		s.config.Arch = kernel.HostArch() // a script
	}
	s.program = guesttest.Program{
		Path: path, Args: args[1:], Dir: dir, Env: guesttest.Env(environ, env), Files: files, Plain: true,
		Left: func(path string, size int64) {
			_, _ = fmt.Fprintf(s.log, "maqet-exec: %s is not in the guest: it has %d MiB; -copy copies it\n", path, size>>20)
		},
	}
	s.program.Stdout, s.program.Stderr = outputs(os.Stdout, os.Stderr)
	return nil
}

// options are those of the Maqet that runs the guest. Sockets are in the usual place: the
// cache folder's path may be too long for them.
func (s *settings) options() []maqet.Option {
	return []maqet.Option{maqet.WithDir(s.dir), maqet.WithRuntimeDir("")}
}

func lookup(environ []string, name string) string {
	for _, kv := range environ {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}
