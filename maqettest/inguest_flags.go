package maqettest

import (
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// insidePassed are the flags of package testing that are passed on as they are.
var insidePassed = []string{
	"short", "fullpath", "parallel", "paniconexit0", "artifacts",
	"memprofilerate", "blockprofilerate", "mutexprofilefraction",
}

// insideProfiles are those that name a profile to write.
var insideProfiles = []string{"cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace"}

// insideFlags returns the flags of the program in the guest: those that were given to this
// one, as far as they make sense there.
func insideFlags(t *testing.T, dir string) []string {
	args := []string{"-test.run=" + onlyThis(t.Name()), "-test.v=test2json"}
	if f := flag.Lookup("test.outputdir"); f != nil && f.Value.String() != "" {
		if dir = f.Value.String(); !filepath.IsAbs(dir) {
			dir, _ = filepath.Abs(dir) // the working directory is known: os.Getwd has worked
		}
	}
	args = append(args, "-test.outputdir="+dir)
	flag.Visit(func(f *flag.Flag) {
		name, ok := strings.CutPrefix(f.Name, "test.")
		switch value := f.Value.String(); {
		case !ok || slices.Contains(insidePassed, name):
			args = append(args, "-"+f.Name+"="+value)
		case slices.Contains(insideProfiles, name) && value != "":
			if !filepath.IsAbs(value) {
				value = filepath.Join(dir, value)
			}
			args = append(args, "-"+f.Name+"="+value+"."+fileName(t.Name()))
		}
	})
	return args
}

// fileName makes one file name of a test's name.
func fileName(test string) string { return strings.ReplaceAll(test, "/", "-") }
