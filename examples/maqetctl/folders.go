package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/adrg/xdg"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/guest/kernel"
)

// folders are where a Maqet keeps things; see maqet.WithDir for those below one folder,
// and process.Options for the others.
type folders struct{ data, runtime, cache string }

func (a *app) folders() (f folders, err error) {
	if f.cache, err = kernel.DefaultCacheDir(); err != nil {
		return f, err
	}
	if dir := a.folder(); dir != "" {
		f.data, err = filepath.Abs(dir)
		f.runtime = filepath.Join(f.data, "run")
		return f, err
	}
	f.data, f.runtime = filepath.Join(xdg.DataHome, "maqet"), "/tmp/maqet-"+strconv.Itoa(os.Getuid())
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		f.runtime = filepath.Join(dir, "maqet")
	}
	return f, nil
}

// check tells whether the folders can be used. It makes none: New does.
func (f folders) check() []check {
	return []check{
		writable("folder of records", f.data, "choose another with --dir"),
		writable("folder of sockets", f.runtime, "choose another with --dir, or set XDG_RUNTIME_DIR"),
		writable("folder of caches", f.cache, "set XDG_CACHE_HOME"),
	}
}

// writable looks at a folder, or at where it would be made.
func writable(name, dir, do string) check {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "use", Path: at, Err: unix.ENOTDIR}
		}
		if err == nil {
			err = unix.Access(at, unix.W_OK|unix.X_OK)
		}
		switch {
		case err != nil:
			return bad(name, fmt.Errorf("%s: %w", at, err), do)
		case at != dir:
			return good(name, "%s (will be made)", dir)
		}
		return good(name, "%s", dir)
	}
}
