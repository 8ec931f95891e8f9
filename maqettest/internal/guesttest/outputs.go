package guesttest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
)

// outputs are what the flags of package testing have a test binary write.
type outputs struct {
	files []string
	// both are folders that are copied in, too; onlyOut are not.
	both, onlyOut []string
}

// flagFiles are the flags that name a file, and whether -test.outputdir applies to it.
var flagFiles = map[string]bool{
	"cpuprofile": true, "memprofile": true, "blockprofile": true, "mutexprofile": true, "trace": true,
	"coverprofile": false, "testlogfile": false,
}

// outputs finds out from the arguments what the program will write.
func (p Program) outputs() outputs {
	var out outputs
	flags := testFlags(p.Args)
	dir := p.Dir
	if flags["outputdir"] != "" {
		dir = p.abs(flags["outputdir"])
	}
	for name, relocated := range flagFiles {
		switch value := flags[name]; {
		case value == "":
		case relocated && !filepath.IsAbs(value):
			out.files = append(out.files, filepath.Join(dir, value))
		default:
			out.files = append(out.files, p.abs(value))
		}
	}
	slices.Sort(out.files)
	for _, value := range []string{flags["gocoverdir"], flags["fuzzcachedir"], lookup(p.Env, "GOCOVERDIR")} {
		if value != "" && !slices.Contains(out.both, p.abs(value)) {
			out.both = append(out.both, p.abs(value))
		}
	}
	if on := flags["artifacts"]; on != "" && on != "false" && on != "0" {
		out.onlyOut = append(out.onlyOut, filepath.Join(dir, "_artifacts"))
	}
	if flags["fuzz"] != "" {
		out.onlyOut = append(out.onlyOut, filepath.Join(p.Dir, "testdata", "fuzz")) // inputs that made it fail
	}
	return out
}

func (p Program) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}

// testFlags returns the flags of package testing in a command line, without "-test.". One that
// is given without a value, as flags that are on or off may be, is "true".
func testFlags(args []string) map[string]string {
	flags := map[string]string{}
	for i, arg := range args {
		if arg == "--" || arg == "-" {
			break
		}
		name, ok := strings.CutPrefix(arg, "-test.")
		if !ok {
			name, ok = strings.CutPrefix(arg, "--test.")
		}
		if !ok {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		if _, file := flagFiles[name]; !given && (file || valued[name]) && i+1 < len(args) {
			value, given = args[i+1], true
		}
		if !given {
			value = "true"
		}
		flags[name] = value
	}
	return flags
}

// valued are flags of interest here that take a value, besides flagFiles.
var valued = map[string]bool{"outputdir": true, "gocoverdir": true, "fuzzcachedir": true, "fuzz": true}

// folders returns the folders that must be in the guest for the program to write to.
func (o outputs) folders() []string {
	dirs := slices.Clone(o.both)
	for _, file := range o.files {
		dirs = append(dirs, filepath.Dir(file))
	}
	for _, dir := range o.onlyOut {
		dirs = append(dirs, filepath.Dir(dir))
	}
	return dirs
}

// inputs returns what has to be copied in for the program to write its outputs.
func (o outputs) inputs() (paths []string, err error) {
	for _, dir := range o.both {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		more, err := metaFilesIn(dir)
		if err != nil {
			return nil, err
		}
		paths = append(append(paths, dir), more...)
	}
	return paths, nil
}

// copyOut brings to the host what there is of the outputs. It goes on after a failure.
func (o outputs) copyOut(ctx context.Context, g *maqet.Machine) error {
	var errs []error
	for _, path := range slices.Concat(o.files, o.both, o.onlyOut) {
		dir := filepath.Dir(path)
		if _, err := os.Stat(dir); err != nil {
			errs = append(errs, errors.Wrap(errors.ErrInvalidConfiguration, "bring "+path+" to the host", "", err))
			continue
		}
		// What the program has not written is no error, nor is it on the host.
		if err := g.CopyFrom(ctx, path, dir); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
