package maqettest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/vm"
)

// logTail is how much of the console and of QEMU's stderr goes to the test's log.
const logTail = 4096

// report shows what is known of a guest whose test failed.
type report struct {
	tb  testing.TB
	m   *maqet.Maqet
	dir string
}

func newReport(tb testing.TB, m *maqet.Maqet) *report {
	return &report{tb: tb, m: m, dir: tb.ArtifactDir()}
}

// write logs the ends of the logs, and saves everything below the artifact folder.
func (r *report) write() {
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
	if path == "" {
		return
	}
	text, err := tail.Last(path, logTail)
	if err != nil || len(text) == 0 {
		return
	}
	r.tb.Logf("maqettest: the end of %s:\n%s", title, strings.TrimRight(string(text), "\r\n"))
}

func (r *report) save(inst vm.Instance) {
	config, err := json.MarshalIndent(inst.Config, "", "  ")
	if err != nil {
		r.tb.Logf("maqettest: configuration not saved: %v", err)
	}
	files := map[string][]byte{"config.json": config, "qemu-args.txt": []byte(strings.Join(inst.Runtime.Args, "\n") + "\n")}
	for name, path := range map[string]string{"console.log": inst.Runtime.Console, "qemu.log": inst.Runtime.Stderr} {
		if data, err := os.ReadFile(path); err == nil {
			files[name] = data
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(r.dir, inst.Name+"-"+name), data, 0o600); err != nil {
			r.tb.Logf("maqettest: %s not saved: %v", name, err)
		}
	}
}
