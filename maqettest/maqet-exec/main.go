package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
)

// Exit codes that are not the program's.
const (
	exitFailed = 125 // as of env(1) and timeout(1)
	exitUsage  = 2
	exitSignal = 128 // and the signal's number, as of a shell
)

func main() { os.Exit(start(os.Args[1:], os.Environ())) }

func start(args, environ []string) int {
	s, err := parse(args, environ, os.Stderr)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "maqet-exec:", err)
		return exitFailed
	}
	ctx, cancel := context.WithCancelCause(context.Background()) // the run's, ended by signals and by the parent's end
	defer cancel(nil)
	stop := endWithParent(cancel)
	defer stop()
	code, err := s.run(ctx, cancel)
	if err != nil {
		fmt.Fprintln(os.Stderr, "maqet-exec:", err)
	}
	return code
}

// signalled is why a start is given up.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string { return "signal: " + s.signal.String() }

// run runs the program in a guest and returns the exit code.
func (s *settings) run(ctx context.Context, cancel context.CancelCauseFunc) (code int, err error) {
	signals := make(chan os.Signal, 16) // go test sends one; a person may send more
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)

	m, err := maqet.New(s.options()...)
	if err != nil {
		return exitFailed, err
	}
	defer func() {
		s.sweep(m)
		if closed := m.Close(); closed != nil {
			code, err = exitFailed, errors.Join(err, closed)
		}
	}()
	begun := time.Now()
	// Until the program runs there is nobody to pass a signal on to.
	arrived := watch(signals, cancel)
	g, err := s.machine(ctx, m)
	arrived()
	if errors.Is(context.Cause(ctx), errParentGone) {
		return exitFailed, errParentGone
	}
	var by signalled
	if errors.As(context.Cause(ctx), &by) {
		return exitCode(by.signal), by
	}
	if err != nil {
		return exitFailed, err
	}
	s.say("%s is ready after %v", g.Name(), time.Since(begun).Round(time.Millisecond))
	p := s.program
	p.Signals = signals
	exit, err := p.Run(ctx, g)
	s.say("%s ended after %v", p.Path, time.Since(begun).Round(time.Millisecond))
	switch {
	case err != nil:
		return exitFailed, err
	case exit.Signal != 0:
		sig := syscall.Signal(exit.Signal)
		// What "go test" says of a program that it has run itself.
		_, _ = fmt.Fprintf(p.Stderr, "signal: %v\n", sig)
		return exitCode(sig), nil
	}
	return exit.Code, nil
}

func exitCode(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitFailed
}

// watch cancels at the first signal, until the function that it returns is called.
func watch(signals <-chan os.Signal, cancel context.CancelCauseFunc) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			cancel(signalled{s})
		case <-end:
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

var errParentGone = errors.New("the process that started the tests has ended")

// endWithParent cancels when the calling process ends: "go run", in between, passes no signals
// on, and "go test" kills it at last.
func endWithParent(cancel context.CancelCauseFunc) (stop func()) {
	id, err := proc.Of(os.Getppid())
	if err != nil {
		return func() {} // of another PID namespace
	}
	parent, err := proc.Open(id)
	if err != nil {
		return func() {}
	}
	ctx, end := context.WithCancel(context.Background()) // this process's life
	done := make(chan struct{})
	go func() {
		defer close(done)
		if parent.Wait(ctx) == nil {
			cancel(errParentGone)
		}
	}()
	return func() {
		end()
		<-done
		_ = parent.Close() // it was only watched
	}
}

// sweep removes what runs that were killed have left in the folder. What it can't do now the
// next one does.
func (s *settings) sweep(m *maqet.Maqet) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTime) // what ended the run does not end this
	defer cancel()
	if _, err := m.Cleanup.Sweep(ctx); err != nil {
		s.say("%v", err)
	}
}

// sweepTime bounds a sweep, which waits for locks of other runs.
const sweepTime = 10 * time.Second

// say tells the user what is done, with -v.
func (s *settings) say(format string, args ...any) {
	if s.verbose {
		_, _ = fmt.Fprintf(s.log, "maqet-exec: "+format+"\n", args...)
	}
}

// outputs returns where the program's output goes. Where both are one file, as "go test" has
// it, they are one writer, so that the order of what is written stays.
func outputs(stdout, stderr *os.File) (io.Writer, io.Writer) {
	a, errA := stdout.Stat()
	b, errB := stderr.Stat()
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return stdout, stdout
	}
	return stdout, stderr
}
