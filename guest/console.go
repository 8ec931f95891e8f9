package guest

import (
	"bytes"
	"context"
	"io"
	"os"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
	"github.com/maqet/maqet/vm"
)

// Console is a guest's first serial port: what it prints, and what is typed into it.
// Text can be read while the guest runs and after it has stopped.
//
// Each Console has a position of its own, which Expect moves; it begins where the
// text does. Its methods are safe for concurrent use; calls of Expect take turns.
type Console struct{ c *console }

type console struct {
	m    *Manager
	ref  string
	turn chan struct{} // has room for one: who put a token in may use pos
	pos  int64         // bytes of the text that Expect is done with
}

// Match is what Expect found.
type Match struct {
	Text   string   // what matched
	Groups []string // the groups of the regular expression; Groups[0] is Text
	Before string   // what was printed between the old position and the match, at most 64 KiB
}

// expectWindow bounds a match's length, and how much text is searched again when more
// arrives, in bytes.
const expectWindow = 64 << 10

// Console returns the console of a VM, which need not run. errors.ErrVMNotFound.
func (m *Manager) Console(ref string) (Console, error) {
	if _, err := m.machines.Get(m.ctx, ref); err != nil {
		return Console{}, err
	}
	return Console{&console{m: m, ref: ref, turn: make(chan struct{}, 1)}}, nil
}

// Text returns everything that the console has printed so far.
func (c Console) Text(ctx context.Context) (string, error) {
	path, err := c.c.path(ctx)
	if err != nil {
		return "", err
	}
	f, err := openLog(path)
	if err != nil {
		return "", errors.Wrap(errors.ErrGuest, "read the console of VM", c.c.ref, err)
	}
	defer f.Close()
	text, err := io.ReadAll(contextReader{ctx, f})
	if err != nil {
		return "", errors.Wrap(errors.ErrGuest, "read the console of VM", c.c.ref, err)
	}
	return string(text), nil
}

// Follow returns a reader of the console's text from its beginning on, which waits for
// more at the end. It ends with io.EOF when the guest is gone and all was read, and with
// ctx's error when ctx ends. It is for one goroutine at a time and must be closed.
func (c Console) Follow(ctx context.Context) (io.ReadCloser, error) {
	return c.c.follow(ctx, 0)
}

// Expect waits until pattern matches what is printed from the position on, and moves
// the position behind the match. A match is at most 64 KiB long. Lines end with "\r\n"
// as a rule, because that is what a terminal gets.
//
// It ends with ctx's error, and, when nothing matches in all that the guest has printed,
// at once if the guest exits, panics, falls silent or does not run. Then the position
// stays where it was.
func (c Console) Expect(ctx context.Context, pattern *regexp.Regexp) (Match, error) {
	return c.c.expect(ctx, pattern.String(), func(text []byte) []int { return pattern.FindSubmatchIndex(text) })
}

// ExpectText is Expect for a fixed text.
func (c Console) ExpectText(ctx context.Context, text string) (Match, error) {
	return c.c.expect(ctx, text, func(have []byte) []int {
		i := bytes.Index(have, []byte(text))
		if i < 0 {
			return nil
		}
		return []int{i, i + len(text)}
	})
}

// Send types text into the console: "\n" is the Enter key. It returns when QEMU has
// taken all of it, which a guest that doesn't read can delay until ctx ends. The
// console takes one client at a time; others wait for their turn.
func (c Console) Send(ctx context.Context, text string) error {
	return c.c.send(ctx, []byte(text))
}

// path is the file with the console's text.
func (c *console) path(ctx context.Context) (string, error) {
	inst, err := c.m.machines.Get(ctx, c.ref)
	if err != nil {
		return "", err
	}
	switch {
	case inst.Runtime.Console != "":
		return inst.Runtime.Console, nil
	case inst.Config.Console.Disabled:
		return "", &errors.Error{
			Kind: errors.ErrInvalidConfiguration, Op: "open the console of VM", VM: c.ref,
			Msg: "it has none", Hint: "Config.Console.Disabled is set",
		}
	default:
		return "", &errors.Error{
			Kind: errors.ErrVMNotRunning, Op: "open the console of VM", VM: c.ref, Msg: "it was never started",
		}
	}
}

func (c *console) expect(ctx context.Context, what string, find func([]byte) []int) (Match, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return Match{}, errors.Wrap(errors.ErrGuest, "expect "+what+" on the console of VM", c.ref, contextError(ctx))
	}
	r, err := c.follow(ctx, c.pos)
	if err != nil {
		return Match{}, err
	}
	defer r.Close()
	r.untilSilent()
	window, start := []byte(nil), c.pos
	buf := make([]byte, expectWindow/2)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return Match{}, r.notFound(what, err)
		}
		window = append(window, buf[:n]...)
		if m := find(window); m != nil {
			c.pos = start + int64(m[1])
			return newMatch(window, m), nil
		}
		if over := len(window) - expectWindow; over > 0 {
			window = append(window[:0], window[over:]...)
			start += int64(over)
		}
	}
}

func newMatch(text []byte, at []int) Match {
	m := Match{Text: string(text[at[0]:at[1]]), Before: string(text[:at[0]])}
	for i := 0; i < len(at); i += 2 {
		group := ""
		if at[i] >= 0 {
			group = string(text[at[i]:at[i+1]])
		}
		m.Groups = append(m.Groups, group)
	}
	return m
}

// send closes only its writing half and waits until QEMU closes the rest: QEMU reads
// what is left first, while a connection closed at once loses it. What the console
// prints meanwhile is read, else the guest would stall.
func (c *console) send(ctx context.Context, text []byte) error {
	call, err := c.m.begin(ctx, "type into VM", c.ref)
	if err != nil {
		return err
	}
	defer call.end()
	g, err := c.m.machines.Live(call.ctx, c.ref)
	if err != nil {
		return call.explain(err)
	}
	conn, err := g.Dial(call.ctx, vm.ChannelConsole, true)
	if err != nil {
		return call.explain(err)
	}
	defer context.AfterFunc(call.ctx, func() { _ = conn.Close() })()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn)
	}()
	_, err = conn.Write(text)
	if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
		if err = half.CloseWrite(); err == nil {
			<-drained
		}
	}
	_ = conn.Close()
	<-drained
	if call.ctx.Err() != nil {
		return call.explain(call.ctx.Err())
	}
	if err != nil {
		return call.explain(lost(err))
	}
	return nil
}

// consoleReader reads a console's text and, while the guest lives, waits for more.
type consoleReader struct {
	tail   *tail.Follower
	path   string
	offset int64
	call   *call           // nil when the guest does not run
	ctx    context.Context // ends the waiting
	ended  error           // why nothing more will come
}

func (c *console) follow(ctx context.Context, offset int64) (*consoleReader, error) {
	path, err := c.path(ctx)
	if err != nil {
		return nil, err
	}
	r := &consoleReader{path: path, offset: offset}
	r.call, err = c.m.begin(ctx, "follow the console of VM", c.ref)
	switch {
	case errors.Is(err, errors.ErrVMNotRunning):
		r.ended = err
		return r, nil
	case err != nil:
		return nil, err
	}
	r.ctx = r.call.ctx
	if r.tail, err = tail.Open(path); err != nil {
		r.call.end()
		return nil, errors.Wrap(errors.ErrGuest, "follow the console of VM", c.ref, err)
	}
	r.tail.SkipTo(offset)
	return r, nil
}

// untilSilent makes Read end also when the guest falls silent.
func (r *consoleReader) untilSilent() {
	if r.call != nil {
		r.ctx = r.call.guard
	}
}

// Read implements io.Reader.
func (r *consoleReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.ended == nil {
		n, err := r.tail.Read(r.ctx, p)
		r.offset += int64(n)
		if err == nil {
			return n, nil
		}
		err = r.call.explain(err)
		if r.call.caller.Err() != nil || r.ctx.Err() == nil {
			return 0, err
		}
		r.ended = err // its last words are in the file
	}
	f, err := openLog(r.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.ReadAt(p, r.offset)
	r.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Close implements io.Closer.
func (r *consoleReader) Close() error {
	if r.call == nil {
		return nil
	}
	r.call.end()
	r.call = nil
	return r.tail.Close()
}

// notFound is the error of an Expect whose text ended.
func (r *consoleReader) notFound(what string, err error) error {
	if err == io.EOF && r.ended != nil {
		err = r.ended
	}
	kind := errors.KindOf(err)
	if kind == nil {
		kind = errors.ErrGuest
	}
	return &errors.Error{Kind: kind, Op: "expect " + strconv.Quote(what) + " on the console", Err: err}
}

// openLog opens a console's text as package tail does.
func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
