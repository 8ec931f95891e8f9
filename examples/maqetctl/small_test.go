package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

func TestCopyEnds(t *testing.T) {
	for text, want := range map[string]copyEnd{
		"web:/srv": {"web", "/srv"}, "web:": {"web", ""}, "/srv": {"", "/srv"}, "./a:b": {"", "./a:b"}, "a/b:c": {"", "a/b:c"},
		"-": {"", "-"}, ":x": {"", ":x"}, "web:a:b": {"web", "a:b"},
	} {
		require.Equal(t, want, parseEnd(text), text)
	}
}

func TestIdentity(t *testing.T) {
	_, err := sshFlags{identity: write(t, filepath.Join(t.TempDir(), "key"), "no key")}.options()
	require.Equal(t, exitUsage, exitOf(err))
	_, err = sshFlags{identity: "/none"}.options()
	require.Equal(t, exitNotFound, exitOf(err))
	options, err := sshFlags{user: "debian", port: 22}.options()
	require.NoError(t, err)
	require.Len(t, options, 2)
}

// TestPiecesOfText: a character of several bytes that comes in two pieces is not broken.
func TestPiecesOfText(t *testing.T) {
	const text = "a\u00e9\u2192\U0001f600\xff\xffz\xe2\x86"
	var out bytes.Buffer
	a := &app{out: &out, json: true}
	require.NoError(t, a.pieces(t.Context(), "web", iotest.OneByteReader(strings.NewReader(text))))
	var got string
	for line := range strings.Lines(out.String()) {
		got += parsed[logShown](t, line).Text
	}
	require.Equal(t, "a\u00e9\u2192\U0001f600\ufffd\ufffdz\ufffd\ufffd", got)
	out.Reset()
	a.json = false
	require.NoError(t, a.pieces(t.Context(), "web", iotest.OneByteReader(strings.NewReader(text))))
	require.Equal(t, text, out.String())
}

func TestLastLines(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"a\nb\nc\n", 0, "a\nb\nc\n"}, {"a\nb\nc\n", 1, "c\n"}, {"a\nb\nc", 1, "c"}, {"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\n", 9, "a\nb\n"}, {"", 3, ""}, {"\n\n", 1, "\n"},
	} {
		require.Equal(t, c.want, lastLines(c.text, c.n), "%q %d", c.text, c.n)
	}
}

func TestArguments(t *testing.T) {
	args, err := pairArguments(&qmp.Schema{}, "device_add", []string{"id=x", "n=12", "hex=0x10", "f=1.5", "on=on", "raw:=[1,2]", "a.b.c=deep", "a.d=e=f", "none=null"})
	require.NoError(t, err)
	data, err := jsonText(args)
	require.NoError(t, err)
	require.JSONEq(t, `{"id": "x", "n": 12, "hex": 16, "f": 1.5, "on": true, "raw": [1, 2], "a": {"b": {"c": "deep"}, "d": "e=f"}, "none": null}`, data)
	for pairs, says := range map[string]string{
		"id": "is not KEY=VALUE", "=x": "is not KEY=VALUE", "a:={": "is not JSON", "a=1 a=2": "given twice", "a=1 a.b=2": "is a value",
	} {
		_, err := pairArguments(&qmp.Schema{}, "x", strings.Fields(pairs))
		require.ErrorContains(t, err, says, pairs)
		require.Equal(t, exitUsage, exitOf(err))
	}
	// What the schema says of a type counts.
	for _, c := range []struct {
		text  string
		types []string
		want  any
	}{
		{"12", []string{"str"}, "12"}, {"true", []string{"str"}, "true"}, {"12", []string{"int"}, int64(12)},
		{"12", []string{"number"}, 12.0}, {"off", []string{"bool"}, false}, {"x", []string{"int", "str"}, "x"},
	} {
		got, err := typedValue("k", c.text, c.types)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err = typedValue("head", "first", []string{"int"})
	require.ErrorContains(t, err, "head=first: it takes int")
}

func jsonText(v any) (string, error) {
	var out bytes.Buffer
	err := (&app{out: &out, json: true}).show(v, nil)
	return out.String(), err
}

func TestHarmless(t *testing.T) {
	require.Equal(t, "red\r\nprompt / # ", harmless("\x1b[31mred\x1b[0m\r\n\x1b]0;title\x07prompt\x00 / # \x1b[6n\x1bc"))
	require.Equal(t, "a?[31mb?", printable("a\x1b[31mb\n"))
}

func TestUntilMatch(t *testing.T) {
	var out bytes.Buffer
	w := &untilMatch{to: &out, pattern: regexp.MustCompile("login: $")}
	for _, text := range []string{strings.Repeat("x", 2*untilWindow), "log", "in:"} {
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(w.window), untilWindow)
	_, err := w.Write([]byte(" "))
	require.ErrorIs(t, err, errMatched)
	require.True(t, strings.HasSuffix(out.String(), "xlogin: "))
}

func TestUntilEscape(t *testing.T) {
	var out bytes.Buffer
	_, err := (&untilEscape{&out}).Write([]byte("ls\x03\x1dlost"))
	require.ErrorIs(t, err, errEscaped)
	require.Equal(t, "ls\x03", out.String())
}

// TestInterruptibleStdin ends a Read for which nothing comes.
func TestInterruptibleStdin(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(r.Close(), w.Close())) }()
	ctx, cancel := context.WithCancel(t.Context())
	in, stop, err := (&app{in: r}).stdin(ctx)
	require.NoError(t, err)
	_, err = w.WriteString("text")
	require.NoError(t, err)
	buf := make([]byte, 10)
	n, err := in.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "text", string(buf[:n]))
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = in.Read(buf)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, stop())
	_, err = in.Read(buf)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = w.WriteString("left") // what was not read is left to who reads next
	require.NoError(t, err)
	n, err = r.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "left", string(buf[:n]))
}

func TestInterruptibleStdinEnds(t *testing.T) {
	f, err := os.Open(write(t, filepath.Join(t.TempDir(), "in"), "all"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	in, stop, err := (&app{in: f}).stdin(t.Context())
	require.NoError(t, err)
	data, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "all", string(data))
	require.NoError(t, stop())
}

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.png")
	require.NoError(t, save(path, []byte("one"), false))
	require.Equal(t, exitExists, exitOf(save(path, []byte("two"), false)))
	require.Equal(t, "one", content(t, path))
	require.NoError(t, save(path, []byte("three"), true))
	require.Equal(t, "three", content(t, path))
	require.Error(t, save(filepath.Dir(path), nil, true)) // a folder is not replaced
	require.Equal(t, exitNotFound, exitOf(save(filepath.Join(path+"none", "x"), nil, false)))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func TestAlive(t *testing.T) {
	dir := t.TempDir()
	ctl(t, dir, "add", "-n", "web").ok(t) // its owner is this process
	inst := parsed[[]vm.Instance](t, ctl(t, dir, "inspect", "web").ok(t))[0]
	require.True(t, alive(inst.Owner))
	for _, change := range []func(*vm.Process){
		func(p *vm.Process) { p.PID = 0 }, func(p *vm.Process) { p.PID = 1 << 22 },
		func(p *vm.Process) { p.StartTime++ }, func(p *vm.Process) { p.BootID = "another" },
	} {
		p := inst.Owner
		change(&p)
		require.False(t, alive(p), "%v", p)
	}
}

// TestStorageWork: images are taken in, copied, converted, resized and looked at.
func TestStorageWork(t *testing.T) {
	dir := t.TempDir()
	source := write(t, filepath.Join(t.TempDir(), "source.raw"), strings.Repeat("x", 1<<20))
	ctl(t, dir, "storage", "import", source, "a.raw", "--sha256", "00").failed(t, exitFailure)
	ctl(t, dir, "storage", "import", source, "a.raw").ok(t)
	ctl(t, dir, "storage", "import", source, "a.raw").failed(t, exitExists)
	ctl(t, dir, "storage", "convert", source, "b.qcow2").ok(t)
	require.Contains(t, ctl(t, dir, "storage", "info", "b.qcow2").ok(t), dir) // whatever folder this is in
	ctl(t, dir, "storage", "clone", "b.qcow2", "copy.qcow2").ok(t)
	ctl(t, dir, "storage", "overlay", "over.qcow2", "copy.qcow2").ok(t)
	ctl(t, dir, "storage", "rm", "over.qcow2", "-y").ok(t)
	ctl(t, dir, "storage", "rm", "over.qcow2", "-y").failed(t, exitNotFound)
	img := parsed[storage.Image](t, ctl(t, dir, "storage", "clone", source, "c.raw", "--json").ok(t))
	require.EqualValues(t, 1<<20, img.Size)
	img = parsed[storage.Image](t, ctl(t, dir, "storage", "resize", "b.qcow2", "2M", "--json").ok(t))
	require.EqualValues(t, 2<<20, img.Size)
	ctl(t, dir, "storage", "resize", "b.qcow2", "1M", "--from", "2M").failed(t, exitDenied)
	require.Contains(t, ctl(t, dir, "storage", "resize", "b.qcow2", "1M").failed(t, exitUsage), "give --from 2M, too")
	ctl(t, dir, "storage", "resize", "b.qcow2", "1M", "--from", "2M", "--yes").ok(t)
	require.Contains(t, ctl(t, dir, "storage", "check", "b.qcow2").ok(t), "corruptions  0")
	extents := parsed[[]storage.Extent](t, ctl(t, dir, "storage", "map", "b.qcow2", "--json").ok(t))
	require.True(t, extents[0].Data)
	require.Contains(t, ctl(t, dir, "storage", "measure", "b.qcow2").ok(t), "when full")
}

// TestStorageOrphans: what a VM left that was removed without its images is found, and given to
// another one, with which it goes.
func TestStorageOrphans(t *testing.T) {
	needGuests(t)
	dir := t.TempDir()
	require.Contains(t, ctl(t, dir, "storage", "orphans").ok(t), "there are no orphans")
	stray := write(t, filepath.Join(dir, "images", "stray.raw"), strings.Repeat("x", 512))
	list := parsed[[]storage.Orphan](t, ctl(t, dir, "storage", "orphans", "--json").ok(t))
	require.Len(t, list, 1)
	require.Equal(t, storage.OrphanUnregistered, list[0].Why)

	ctl(t, dir, "add", "-n", "web").ok(t)
	ctl(t, dir, "storage", "attach", "stray.raw", "nobody").failed(t, exitNotFound)
	ctl(t, dir, "storage", "attach", "stray.raw", "web", "--disk", "data", "--format", "raw").ok(t)
	require.Contains(t, ctl(t, dir, "storage", "orphans").ok(t), "there are no orphans")
	ctl(t, dir, "storage", "verify").ok(t)
	require.NoError(t, os.Truncate(stray, 1024))
	require.Contains(t, ctl(t, dir, "storage", "verify", "--deep").failed(t, exitFailure), "findings: 1")
	ctl(t, dir, "rm", "-y", "web", "--images").ok(t)
	require.NoFileExists(t, stray)
}
