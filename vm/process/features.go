package process

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// probeTimeout bounds asking a binary what it can do; it takes about 60 ms.
const probeTimeout = 15 * time.Second

// probeSchema changes with the meaning of what is remembered.
const probeSchema = 4

// features is what a QEMU binary says it can do.
type features struct {
	Version  string
	Arch     string // what it emulates, by QEMU's name
	Machines []string
	Aliases  map[string]string // "q35" -> "pc-q35-7.2"
	RAM      map[string]string // what each machine calls its RAM: "pc-q35-7.2" -> "pc.ram"
	// Executable is the file that ran: where the binary is a script, that which it runs. Build
	// tells it from others; see buildOf.
	Executable, Build string
	KVM               bool     // built with KVM; not that the host has it
	Sandbox           bool     // has -sandbox
	AIO               []string // what the option "aio" of block nodes takes
	Devices           []string // what -device takes, sorted
}

// probed is what is remembered of a binary, with what tells that it is still the same.
type probed struct {
	Schema   int
	Path     string
	Size     int64
	Modified time.Time
	Features features
}

func (p probed) of(path string, info os.FileInfo) bool {
	return p.Schema == probeSchema && p.Path == path && p.Size == info.Size() && p.Modified.Equal(info.ModTime()) &&
		p.Features.Build == buildOf(p.Features.Executable)
}

// prober asks binaries once, and remembers the answers in memory and in files. It is
// safe for concurrent use.
type prober struct {
	dir   string
	start func(*exec.Cmd) error // starts what ends with this process
	turn  chan struct{}         // held by who asks, so that one asks and the others learn

	mu    sync.Mutex
	known map[string]probed
}

func newProber(dir string, start func(*exec.Cmd) error) *prober {
	return &prober{dir: dir, start: start, turn: make(chan struct{}, 1), known: map[string]probed{}}
}

func (p *prober) features(ctx context.Context, binary string) (features, error) {
	info, err := os.Stat(binary)
	if err != nil {
		return features{}, errors.Wrap(errors.ErrQEMUNotFound, "look at QEMU", "", err)
	}
	if got, ok := p.remembered(binary, info); ok {
		return got, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return features{}, context.Cause(ctx)
	}
	if got, ok := p.remembered(binary, info); ok { // who had the turn has asked
		return got, nil
	}
	got, err := p.load(binary)
	if err != nil || !got.of(binary, info) {
		f, err := p.ask(ctx, binary)
		if err != nil {
			return f, err
		}
		got = probed{Schema: probeSchema, Path: binary, Size: info.Size(), Modified: info.ModTime(), Features: f}
		p.save(got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[binary] = got
	return got.Features, nil
}

func (p *prober) remembered(binary string, info os.FileInfo) (features, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got, ok := p.known[binary]
	return got.Features, ok && got.of(binary, info)
}

func (p *prober) file(binary string) string {
	sum := sha256.Sum256([]byte(binary))
	return filepath.Join(p.dir, hex.EncodeToString(sum[:16])+".json")
}

func (p *prober) load(binary string) (probed, error) {
	var got probed
	data, err := os.ReadFile(p.file(binary))
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(data, &got)
}

// save remembers an answer for other processes. That it can't be saved costs them 60 ms,
// and is no reason to fail.
func (p *prober) save(got probed) {
	data, err := json.Marshal(got)
	if err != nil || os.MkdirAll(p.dir, 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(p.dir, "probe-*")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if errors.Join(err, tmp.Close()) != nil || os.Rename(tmp.Name(), p.file(got.Path)) != nil {
		_ = os.Remove(tmp.Name())
	}
}

// ask runs the binary without a machine and asks it over QMP.
func (p *prober) ask(ctx context.Context, binary string) (features, error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	ours, theirs, err := socketPair()
	if err != nil {
		return features{}, err
	}
	cmd := exec.CommandContext(limited, binary, "-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-chardev", "socket,id=probe,fd=3", "-mon", "chardev=probe,mode=control")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 50 * time.Millisecond // what is no QEMU may have left children behind
	var stderr limitedBuffer
	cmd.Stderr = &stderr
	err = p.start(cmd)
	_ = theirs.Close() // or its end would never be seen
	if err != nil {
		return features{}, errors.Join(errors.Wrap(errors.ErrQEMUNotFound, "run "+binary, "", err), ours.Close())
	}
	f, err := query(limited, ours)
	f.Executable, f.Build = executableOf(cmd.Process.Pid, binary), buildOf(procExe(cmd.Process.Pid))
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // killed
	switch {
	case err == nil:
		return f, nil
	case ctx.Err() != nil:
		return f, context.Cause(ctx)
	default:
		return f, &errors.Error{Kind: errors.ErrQEMUNotFound, Op: "ask " + binary + " what it can do",
			Msg: strings.TrimSpace(stderr.text()), Err: err, Hint: "is it a QEMU system emulator?"}
	}
}

func query(ctx context.Context, conn net.Conn) (features, error) {
	client := qmp.NewClient()
	defer func() { _ = client.Close() }() // its end is all that is wanted
	if err := client.Connect(ctx, conn); err != nil {
		return features{}, err
	}
	f := features{Version: client.Greeting().Version.String(), Aliases: map[string]string{}, RAM: map[string]string{}}
	var machines []struct {
		Name, Alias string
		RAM         string `json:"default-ram-id"`
	}
	var target struct{ Arch string }
	var kvm struct{ Present bool }
	var options []struct{ Option string }
	var devices []struct{ Name string }
	var schema []schemaEnum
	for command, into := range map[string]any{"query-machines": &machines, "query-target": &target, "query-kvm": &kvm,
		"query-command-line-options": &options, "query-qmp-schema": &schema, "qom-list-types": &devices} {
		var args any
		if command == "qom-list-types" {
			args = map[string]any{"implements": "device", "abstract": false}
		}
		raw, err := client.Execute(ctx, command, args)
		if err != nil {
			return f, err
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return f, fmt.Errorf("%s: %w", command, err)
		}
	}
	for _, m := range machines {
		f.Machines = append(f.Machines, m.Name)
		if m.Alias != "" {
			f.Aliases[m.Alias] = m.Name
		}
		if m.RAM != "" {
			f.RAM[m.Name] = m.RAM
		}
	}
	f.Arch, f.KVM = target.Arch, kvm.Present
	for _, d := range devices {
		f.Devices = append(f.Devices, d.Name)
	}
	slices.Sort(f.Devices)
	for _, o := range options {
		f.Sandbox = f.Sandbox || o.Option == "sandbox"
	}
	f.AIO = aioOf(schema)
	return f, nil
}

// schemaEnum is an enumeration in QEMU's description of its QMP (QEMU QMP Reference
// Manual, SchemaInfoEnum).
type schemaEnum struct {
	Values  []string                // until QEMU 6.1; deprecated since
	Members []struct{ Name string } // from 6.2
}

// aioOf returns the values of BlockdevAioOptions. The description hides the names of
// types, so it is known by two of them.
func aioOf(schema []schemaEnum) []string {
	for _, e := range schema {
		values := e.Values
		if len(values) == 0 {
			for _, m := range e.Members {
				values = append(values, m.Name)
			}
		}
		if slices.Contains(values, "threads") && slices.Contains(values, "native") {
			return values
		}
	}
	return nil
}

// socketPair returns two connected sockets: one to use, one for a child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "probe"), os.NewFile(uintptr(fds[1]), "probe")
	conn, err := net.FileConn(mine)
	if err := errors.Join(err, mine.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

// limitedBuffer keeps the first bytes of what is written to it.
type limitedBuffer struct{ buf []byte }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	const enough = 1024
	l.buf = append(l.buf, p[:min(len(p), enough-len(l.buf))]...)
	return len(p), nil
}

func (l *limitedBuffer) text() string { return string(l.buf) }
