package backendtest

import (
	"context"
	"net"
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

func testDialUnknown(p *place) {
	g := p.halted(vm.Config{})
	for _, name := range []string{"no-such-channel", "", "../agent"} {
		p.promptly("Dial", func() {
			_, err := g.Dial(p.patient(), name, true)
			require.ErrorIs(p, err, errors.ErrAgentUnavailable, "channel %q", name)
		})
	}
}

// withStreams launches what passes for the default guest, which alone has the streams, and
// connects to it.
func (p *place) withStreams(cfg vm.Config) *launched {
	p.Helper()
	spec := p.spec(cfg)
	spec.Boot = p.pcBoot()
	spec.Boot.Default = true
	g := p.launch(spec)
	require.NoError(p, g.Connect(p.patient()))
	return g
}

// testDialDisabled: a channel that the VM's Config leaves out is none.
func testDialDisabled(p *place) {
	g := p.withStreams(vm.Config{Console: vm.Console{Disabled: true}, Agent: vm.Agent{Disabled: true}})
	for _, name := range []string{vm.ChannelConsole, vm.ChannelAgent, vm.ChannelStream0, vm.ChannelStream1} {
		_, err := g.Dial(p.patient(), name, false)
		require.ErrorIs(p, err, errors.ErrAgentUnavailable, name)
	}
	require.Empty(p, g.Runtime().Console)
}

// testDialAll: the channels don't get in each other's way.
func testDialAll(p *place) {
	g := p.withStreams(vm.Config{})
	for _, name := range []string{vm.ChannelAgent, vm.ChannelStream0, vm.ChannelStream1, vm.ChannelConsole} {
		conn := p.dial(g, name)
		defer func() { require.NoError(p, conn.Close()) }()
	}
}

// testDialTakesTurns: a channel has one client of all processes.
func testDialTakesTurns(p *place) {
	g := p.withStreams(vm.Config{})
	other := p.attach(p.open(), g)
	for _, name := range []string{vm.ChannelStream0, vm.ChannelConsole, vm.ChannelAgent} {
		first := p.dial(g, name)
		for _, second := range []vm.Guest{g, other} {
			if second == vm.Guest(other) && name == vm.ChannelConsole && p.lacks(Consoles) {
				continue
			}
			p.promptly("Dial", func() {
				_, err := second.Dial(p.patient(), name, false)
				require.ErrorIs(p, err, errors.ErrAgentUnavailable, name)
			})
			waiting := p.dialLater(p.patient(), second, name)
			select {
			case got := <-waiting:
				require.Fail(p, "two clients at once", "%s: %+v", name, got)
			case <-time.After(quiet):
			}
			require.NoError(p, first.Close())
			first = p.dialled(waiting)
		}
		require.NoError(p, first.Close())
	}
}

// dialLater dials a channel as soon as it is free.
func (p *place) dialLater(ctx context.Context, g vm.Guest, name string) <-chan dialResult {
	waiting := make(chan dialResult, 1)
	go func() {
		conn, err := g.Dial(ctx, name, true)
		waiting <- dialResult{conn, err}
	}()
	return waiting
}

type dialResult struct {
	conn net.Conn
	err  error
}

// dialled returns the connection that comes of a dialLater.
func (p *place) dialled(waiting <-chan dialResult) net.Conn {
	p.Helper()
	got := p.dialEnds(waiting)
	require.NoError(p, got.err)
	return got.conn
}

func (p *place) dialEnds(waiting <-chan dialResult) dialResult {
	p.Helper()
	select {
	case got := <-waiting:
		return got
	case <-time.After(patience):
		require.Fail(p, "Dial waits")
		return dialResult{}
	}
}

// testDialWaitEnds: who waits for a channel does so until its context, the guest or its
// Release ends it.
func testDialWaitEnds(p *place) {
	for name, end := range map[string]func(g *launched, cancel func()){
		"context": func(_ *launched, cancel func()) { cancel() },
		"guest":   func(g *launched, _ func()) { p.h.Kill(p, g.inst(p)) },
		"release": func(g *launched, _ func()) { _ = g.Release() },
	} {
		g := p.withStreams(vm.Config{})
		held := p.dial(p.attach(p.open(), g), vm.ChannelStream1)
		ctx, cancel := context.WithCancel(p.patient())
		waiting := p.dialLater(ctx, g, vm.ChannelStream1)
		time.Sleep(quiet) // lets it begin to wait in most runs
		end(g, cancel)
		require.ErrorIs(p, p.dialEnds(waiting).err, errors.ErrAgentUnavailable, name)
		cancel()
		_ = held.Close()
	}
}

func testDialCancelled(p *place) {
	g := p.withStreams(vm.Config{})
	p.promptly("Dial", func() {
		_, err := g.Dial(p.cancelled(), vm.ChannelStream0, false)
		require.ErrorIs(p, err, context.Canceled)
	})
	require.NoError(p, p.dial(g, vm.ChannelStream0).Close())
}

// testDialEnds: an open channel ends with the guest, and with its Release; a new one can't
// be opened then.
func testDialEnds(p *place) {
	for name, end := range map[string]func(g *launched){
		"guest":   func(g *launched) { p.h.Kill(p, g.inst(p)); p.gone(g) },
		"release": func(g *launched) { _ = g.Release() },
	} {
		g := p.withStreams(vm.Config{})
		conn := p.dial(g, vm.ChannelConsole)
		end(g)
		_ = conn.SetReadDeadline(time.Now().Add(patience)) // fails where it is closed already
		_, err := conn.Read(make([]byte, 1))
		require.Error(p, err, name)
		require.NotErrorIs(p, err, os.ErrDeadlineExceeded, name)
		_, err = g.Dial(p.patient(), vm.ChannelConsole, true)
		require.ErrorIs(p, err, errors.ErrAgentUnavailable, name)
		_ = conn.Close()
	}
}

// testConsole: what the guest prints arrives, and what is typed.
func testConsole(p *place) {
	g, console := p.pc(vm.Config{})
	p.say(console, "hello, guest")
	p.readUntil(console, "hello, guest")

	require.NoError(p, console.Close())
	require.NoError(p, console.Close(), "again")
	again := p.dial(g, vm.ChannelConsole)
	p.say(again, "it is me")
	p.readUntil(again, "it is me")

	require.NoError(p, again.SetReadDeadline(time.Now().Add(quiet)))
	_, err := again.Read(make([]byte, 1))
	require.ErrorIs(p, err, os.ErrDeadlineExceeded, "nothing was printed")
	p.say(again, "still here")
	p.readUntil(again, "still here")
}

// testConsoleFile: everything that is printed is in the file, whether somebody listens or
// not, and for all processes.
func testConsoleFile(p *place) {
	g, console := p.pc(vm.Config{})
	p.say(console, pcPrint)
	require.NoError(p, console.Close())
	want := pcBanner + pcPrinted()
	p.consoleBecomes(p.attach(p.open(), g), want)
	again := p.dial(g, vm.ChannelConsole)
	p.say(again, "again")
	p.readUntil(again, "again")
	p.consoleBecomes(g, want+"again")

	p.say(again, pcPrint+"!")
	require.Equal(p, pcPrinted()+"!", p.readUntil(again, "!"), "to who listens")
}

// consoleBecomes waits until the console's file has exactly this text. Who writes it is
// another process, which tells nobody.
func (p *place) consoleBecomes(g vm.Guest, want string) {
	p.Helper()
	var text string
	require.Eventually(p, func() bool {
		data, err := os.ReadFile(g.Runtime().Console)
		text = strings.ReplaceAll(string(data), "\r\n", "\n")
		return err == nil && len(text) >= len(want)
	}, patience, quiet/5, "the console's file is incomplete")
	if text != want {
		at := 0
		for at < min(len(text), len(want)) && text[at] == want[at] {
			at++
		}
		require.Fail(p, "the console's file is not what was printed", "%d bytes of %d, different from byte %d on: %.80q\nwant %.80q", len(text), len(want), at, text[at:], want[at:])
	}
}

// testConsoleFresh: each start has a file of its own.
func testConsoleFresh(p *place) {
	g, console := p.pc(vm.Config{})
	p.say(console, "of the first run")
	p.readUntil(console, "of the first run")
	p.consoleBecomes(g, pcBanner+"of the first run")
	require.NoError(p, last(g).Run(p.patient()))
	p.gone(g)
	require.NoError(p, g.Release())
	require.NoError(p, p.b.Clean(p.patient(), g.inst(p)))
	again := p.launch(g.spec)
	require.NoError(p, again.Connect(p.patient()))
	require.NoError(p, again.Continue(p.patient()))
	p.consoleBecomes(again, pcBanner)
}
