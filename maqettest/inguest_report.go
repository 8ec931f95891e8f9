package maqettest

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// marker begins a line by which package testing says what becomes of a test, when
// -test.v=test2json asks for that; so it can be told from what a test prints.
const marker = 0x16

// insideReport reads what a test's program prints in the guest, and writes to out what is
// the test's own of it. It is for one goroutine at a time.
type insideReport struct {
	name string // of the test
	out  io.Writer

	mu     sync.Mutex
	line   []byte // begun
	ended  bool   // all tests are done
	result string // of the test: "PASS", "FAIL", "SKIP"; "" while there is none
}

// Write implements io.Writer.
func (r *insideReport) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line = append(r.line, p...)
	for {
		i := bytes.IndexByte(r.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		err := r.take(string(r.line[:i]))
		r.line = r.line[i+1:]
		if err != nil {
			return len(p), err
		}
	}
}

// flush takes a last line that has no end.
func (r *insideReport) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.line) > 0 {
		_ = r.take(string(r.line)) // out is a test's log, which does not fail
		r.line = nil
	}
}

// take handles a line.
func (r *insideReport) take(line string) error {
	// What a test printed without an end of line is before the marker.
	text, framed, ok := strings.Cut(line, string(rune(marker)))
	if !ok {
		return r.show(text)
	}
	if text != "" {
		if err := r.show(text); err != nil {
			return err
		}
	}
	return r.frame(framed)
}

// frame handles what package testing says.
func (r *insideReport) frame(line string) error {
	if line == "PASS" || line == "FAIL" {
		r.ended = true
		return nil
	}
	kind, name, _ := strings.Cut(line, ": ")
	if result, ok := strings.CutPrefix(kind, "--- "); ok {
		name, _, _ = strings.Cut(name, " (")
		if name == r.name {
			r.result = result
			return nil
		}
		if strings.HasPrefix(name, r.name+"/") || result == "FAIL" && (r.result == "PASS" || r.result == "SKIP") {
			return r.show(line) // a subtest, or a parent that fails without this test's doing
		}
		return nil
	}
	name, run := strings.CutPrefix(line, "=== RUN   ")
	if run && strings.HasPrefix(name, r.name+"/") {
		return r.show(line)
	}
	return nil
}

// show writes a line to the test's log, which indents it as package testing had.
func (r *insideReport) show(line string) error {
	if r.ended && strings.HasPrefix(line, "coverage: ") {
		return nil // the host's says it for both
	}
	_, err := io.WriteString(r.out, strings.TrimPrefix(line, "    ")+"\n")
	return err
}
