package maqettest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

// logTail is how much of the console and of QEMU's stderr goes to the test's log.
const logTail = 4096

// evidence is what is known of a guest when its test has failed.
type evidence struct {
	vm    string
	log   []string // for the test's log
	files map[string][]byte
}

// gather looks at a guest. It does what it can: what fails is in the log.
func gather(m *maqet.Maqet, inst vm.Instance, t *transcript) *evidence {
	e := &evidence{vm: inst.Name, files: map[string][]byte{}}
	e.tail(inst.Name+"'s console", inst.Runtime.Console)
	e.tail(inst.Name+"'s QEMU", inst.Runtime.Stderr)
	config, err := json.MarshalIndent(inst.Config, "", "  ")
	if err != nil {
		e.note("configuration not saved: %v", err)
	}
	e.files["config.json"] = append(config, '\n')
	if len(inst.Runtime.Args) > 0 {
		e.files["qemu-args.txt"] = []byte(process.Quote(inst.Runtime.Args) + "\n")
		script, err := reproduction(inst)
		if err != nil {
			e.note("no command line to reproduce the guest: %v", err)
		} else {
			e.files["reproduce.sh"] = []byte(script)
		}
	}
	paths := map[string]string{"console.log": inst.Runtime.Console, "qemu.log": inst.Runtime.Stderr}
	if t != nil {
		paths["qmp.log"] = t.file
	}
	for name, path := range paths {
		if data, err := os.ReadFile(path); err == nil {
			e.files[name] = data
		}
	}
	e.screenshot(m, inst)
	return e
}

func (e *evidence) note(format string, args ...any) {
	e.log = append(e.log, fmt.Sprintf(format, args...))
}

func (e *evidence) tail(title, path string) {
	if path == "" {
		return
	}
	text, err := tail.Last(path, logTail)
	if err == nil && len(text) > 0 {
		e.note("the end of %s:\n%s", title, strings.TrimRight(string(text), "\r\n"))
	}
}

// screenTime bounds a look at the screen of a guest that may be in any state.
const screenTime = 5 * time.Second

// screenshot keeps what the guest shows, if it has a screen, and lives.
func (e *evidence) screenshot(m *maqet.Maqet, inst vm.Instance) {
	if inst.State != vm.Running && inst.State != vm.Paused {
		return
	}
	// The test's own context has ended when its cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), screenTime)
	defer cancel()
	png, err := m.QMP.ScreenshotPNG(ctx, inst.ID, qmp.ScreenshotOptions{})
	switch {
	case err == nil:
		e.files["screen.png"] = png
	case !errors.Is(err, errors.ErrQMPUnsupported):
		e.note("no screenshot: %v", err)
	}
}

// show writes everything to the test's log, and to a folder with the guest's name below its
// artifacts: a test may have several.
func (e *evidence) show(tb testing.TB) {
	tb.Helper()
	for _, text := range e.log {
		tb.Logf("maqettest: %s", text)
	}
	dir := filepath.Join(tb.ArtifactDir(), e.vm)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Logf("maqettest: artifacts not saved: %v", err)
		return
	}
	for name, data := range e.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			tb.Logf("maqettest: artifact not saved: %v", err)
		}
	}
}
