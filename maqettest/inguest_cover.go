package maqettest

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maqet/maqet/maqettest/internal/guesttest"
)

// A program built with -cover writes a file that describes its code, covmeta.HASH, and one
// with the counters of each run, covcounters.HASH.PID.TIME, into the folder that
// -test.gocoverdir names. When it ends it reports, in the profile and in its output, the sum of
// the counters in that folder (internal/coverage/cfile.ProcessCoverTestDir). So the counters of
// the guest only have to be there by then.
const (
	counterPrefix = "covcounters."
	coverDirFlag  = "test.gocoverdir"
)

// insideCounters are the counters of a run in a guest.
type insideCounters struct {
	from, to string // folders of the host; empty: coverage is not wanted
}

// coverInside has the program write its counters, if this one counts.
func coverInside(t *testing.T, p *guesttest.Program) insideCounters {
	t.Helper()
	if testing.CoverMode() == "" {
		return insideCounters{}
	}
	f := flag.Lookup(coverDirFlag)
	if f == nil || f.Value.String() == "" {
		t.Logf("maqettest: what the guest covers is not counted without -%s, which go test gives", coverDirFlag)
		return insideCounters{}
	}
	c := insideCounters{from: filepath.Join(t.TempDir(), "cover"), to: f.Value.String()}
	if err := os.Mkdir(c.from, 0o700); err != nil {
		t.Fatalf("maqettest: %v", err)
	}
	p.Args = append([]string{"-" + coverDirFlag + "=" + c.from}, p.Args...)
	p.Env = append(p.Env, "GOCOVERDIR="+c.from)
	return c
}

// merge moves the counters to where they are reported, under names that nothing there has.
func (c insideCounters) merge() error {
	if c.to == "" {
		return nil
	}
	entries, err := os.ReadDir(c.from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), counterPrefix) {
			continue // the host's program describes the same code
		}
		if err := moveCounters(filepath.Join(c.from, e.Name()), c.to); err != nil {
			return err
		}
	}
	return nil
}

// moveCounters gives the file the next time in its name that is free: forks of one guest
// share process IDs, and may share the time.
func moveCounters(file, dir string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	stem, last, _ := strings.Cut(strings.TrimPrefix(filepath.Base(file), counterPrefix), ".")
	var pid, nano int64
	if _, err := fmt.Sscanf(last, "%d.%d", &pid, &nano); err != nil {
		return fmt.Errorf("the name of %s: %w", file, err)
	}
	for {
		name := fmt.Sprintf("%s%s.%d.%d", counterPrefix, stem, pid, nano)
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			nano++
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return errors.Join(err, f.Close())
	}
}
