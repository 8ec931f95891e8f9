package maqettest

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maqet/maqet/guest"
)

// Process is a program that [Guest.Start] has started.
type Process struct {
	g              *Guest
	args           []string
	stdout, stderr output
	cancel         context.CancelFunc
	killed, waited atomic.Bool
	done           chan struct{}
	res            guest.Result // once done is closed, as err
	err            error
}

// Start starts a program in the guest, without a shell, and returns at once. The program is
// killed at the end of the test, if it runs then; its own children may go on until the guest
// ends. Whether it could be started tells [Process.Wait]; of one that nobody waits for, and
// that ends by itself with an error, the test's log tells. (To start the guest again once it
// has been stopped, use g.Machine.Start.)
func (g *Guest) Start(args ...string) *Process {
	p := &Process{g: g, args: args, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(g.tb.Context())
	p.cancel = cancel
	go func() {
		defer close(p.done)
		p.res, p.err = g.Command(ctx, guest.Command{Args: args, Stdout: &p.stdout, Stderr: &p.stderr})
	}()
	g.tb.Cleanup(p.end)
	return p
}

// Stdout returns what the program has printed so far, at most [guest.CaptureLimit].
func (p *Process) Stdout() string { return p.stdout.text() }

// Stderr returns what the program has printed to its standard error so far, at most
// [guest.CaptureLimit].
func (p *Process) Stderr() string { return p.stderr.text() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns when the program has ended, with what it printed. The test fails at once when
// it could not be run or its exit code is not zero, but for one that was ended by Kill: its
// ExitCode is -1. Without [Guest.Within] there is no limit.
func (p *Process) Wait() guest.Result {
	p.g.tb.Helper()
	p.waited.Store(true)
	ctx, cancel := p.g.bounded()
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		p.g.tb.Fatalf("maqettest: %q still runs in %s: %v", p.args, p.g.Name(), context.Cause(ctx))
	}
	res := p.res
	res.Stdout, res.Stderr = []byte(p.Stdout()), []byte(p.Stderr())
	if p.err != nil && p.killed.Load() {
		res.ExitCode = -1
		return res
	}
	p.g.check(p.err)
	return res
}

// Kill ends the program, and returns when it has ended. One that has ended already is left as
// it is. It may be called from any goroutine.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		p.killed.Store(true)
		p.cancel()
		<-p.done
	}
}

// end is Kill at the end of the test. The test's context has ended before.
func (p *Process) end() {
	p.g.tb.Helper()
	p.cancel()
	<-p.done
	if p.err != nil && !p.killed.Load() && !p.waited.Load() && !interrupted(p.err) {
		p.g.tb.Logf("maqettest: nobody waited for %q: %v", strings.Join(p.args, " "), p.err)
	}
}

// output keeps the first guest.CaptureLimit bytes that are written. It is safe for concurrent
// use.
type output struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer. It never fails, which would end the program.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, p[:min(len(p), guest.CaptureLimit-len(o.buf))]...)
	return len(p), nil
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}
