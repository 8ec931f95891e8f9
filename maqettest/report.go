package maqettest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// logTail is how much of the console and of QEMU's stderr goes to the test's log.
const logTail = 4096

// report shows what is known of the guests of a test that failed.
type report struct {
	tb testing.TB
	m  *maqet.Maqet

	guest, transcript string // the ID of the guest that has a transcript, and its file
}

// write logs the ends of the logs, and saves everything below the artifact folder. It
// does what it can: what fails is logged.
func (r *report) write() {
	r.tb.Helper()
	list, err := r.m.VM.List(context.Background(), vm.Filter{})
	if err != nil {
		r.tb.Logf("maqettest: no report: %v", err)
		return
	}
	for _, inst := range list {
		r.log(inst.Name+"'s console", inst.Runtime.Console)
		r.log(inst.Name+"'s QEMU", inst.Runtime.Stderr)
		r.save(inst)
	}
}

func (r *report) log(title, path string) {
	r.tb.Helper()
	if path == "" {
		return
	}
	text, err := tail.Last(path, logTail)
	if err != nil || len(text) == 0 {
		return
	}
	r.tb.Logf("maqettest: the end of %s:\n%s", title, strings.TrimRight(string(text), "\r\n"))
}

// save writes the files of one guest to a folder of its name: a test may have several.
func (r *report) save(inst vm.Instance) {
	r.tb.Helper()
	dir := filepath.Join(r.tb.ArtifactDir(), inst.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.tb.Logf("maqettest: artifacts not saved: %v", err)
		return
	}
	config, err := json.MarshalIndent(inst.Config, "", "  ")
	if err != nil {
		r.tb.Logf("maqettest: configuration not saved: %v", err)
	}
	files := map[string][]byte{"config.json": append(config, '\n')}
	if len(inst.Runtime.Args) > 0 {
		files["qemu-args.txt"] = []byte(shellQuote(inst.Runtime.Args) + "\n")
	}
	sources := map[string]string{"console.log": inst.Runtime.Console, "qemu.log": inst.Runtime.Stderr}
	if inst.ID == r.guest {
		sources["qmp.log"] = r.transcript
	}
	for name, path := range sources {
		if data, err := os.ReadFile(path); err == nil {
			files[name] = data
		}
	}
	if png := r.screenshot(inst); png != nil {
		files["screen.png"] = png
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			r.tb.Logf("maqettest: artifact not saved: %v", err)
		}
	}
}

// screenTime bounds a look at the screen of a guest that may be in any state.
const screenTime = 5 * time.Second

// screenshot returns what the guest shows, nil when it has no screen, or no life.
func (r *report) screenshot(inst vm.Instance) []byte {
	r.tb.Helper()
	if inst.State != vm.Running && inst.State != vm.Paused {
		return nil
	}
	// The test's own context has ended when its cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), screenTime)
	defer cancel()
	png, err := r.m.QMP.ScreenshotPNG(ctx, inst.ID, qmp.ScreenshotOptions{})
	if err != nil && !errors.Is(err, errors.ErrQMPUnsupported) {
		r.tb.Logf("maqettest: no screenshot: %v", err)
	}
	return png
}

// plainWord matches what means itself to a POSIX shell (POSIX.1-2017, XCU 2.2).
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuote returns a command line that a person can paste into a shell. Each option
// is on a line of its own.
func shellQuote(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		switch {
		case i > 0 && strings.HasPrefix(arg, "-"):
			b.WriteString(" \\\n  ")
		case i > 0:
			b.WriteByte(' ')
		}
		if !plainWord.MatchString(arg) {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		b.WriteString(arg)
	}
	return b.String()
}
