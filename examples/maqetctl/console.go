package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// escape is the key that leaves a console: Ctrl-].
const escape = 0x1d

// untilWindow is how much of a console's output a pattern is looked for in, in bytes.
const untilWindow = 64 << 10

func (a *app) consoleCommand() *cobra.Command {
	var until string
	var lines int
	cmd := &cobra.Command{
		Use:   "console VM",
		Short: "Work at a guest's console; Ctrl-] leaves it",
		Long: "Connect the terminal with the guest's console; Ctrl-] leaves it. One process at a\n" +
			"time can have it; 'logs --follow' just watches.\n\n" +
			"Where standard input is no terminal, it is typed into the console, and what the\n" +
			"console prints from now on is written to standard output, until the guest ends,\n" +
			"--until matches, or --timeout.",
		Example:           "  maqetctl console web\n  printf 'uname -a; echo done$((1+1))\\n' | maqetctl console web --until 'done2'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			if a.json {
				return usagef("a console has no JSON; see 'logs'")
			}
			if until == "" {
				return a.console(ctx, m, refs[0], lines, nil)
			}
			pattern, err := regexp.Compile(until)
			if err != nil {
				return &usageError{err: err}
			}
			return a.console(ctx, m, refs[0], lines, pattern)
		}),
	}
	cmd.Flags().StringVar(&until, "until", "", "end when the console prints what this regular expression matches")
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "how many lines from before to show first, on a terminal")
	return cmd
}

// console connects this process's streams with a guest's console.
func (a *app) console(ctx context.Context, m *maqet.Maqet, ref string, lines int, until *regexp.Regexp) (err error) {
	g, err := m.VM.Live(ctx, ref)
	if err != nil {
		return err
	}
	conn, err := g.Dial(ctx, vm.ChannelConsole, false)
	if errors.Is(err, errors.ErrAgentUnavailable) {
		return &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "open the console of VM", VM: ref, Err: err, Hint: "'maqetctl logs --follow' watches it"}
	}
	if err != nil {
		return err
	}
	interactive := isTerminal(a.in) && isTerminal(a.out)
	if interactive {
		restore, err := a.enterConsole(ctx, m, ref, lines)
		if err != nil {
			return joined(err, conn.Close())
		}
		defer func() {
			_ = restore() // the terminal that was there before
			fmt.Fprintln(a.err, "\nleft the console")
		}()
	}
	return a.connect(ctx, conn, interactive, until)
}

// enterConsole prepares the terminal: a hint, the last lines from before, and raw keys.
func (a *app) enterConsole(ctx context.Context, m *maqet.Maqet, ref string, lines int) (restore func() error, err error) {
	fmt.Fprintf(a.err, "the console of %s; Ctrl-] leaves it\n", ref)
	if console, err := m.Guest.Console(ref); err == nil && lines > 0 {
		if text, err := console.Text(ctx); err == nil {
			_, _ = io.WriteString(a.out, harmless(lastLines(text, lines)))
		}
	}
	return rawTerminal(a.in.(*os.File))
}

// sequences are what a terminal does not print but obeys (ECMA-48, 5.4 and 5.6), and other
// control characters.
var sequences = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f]`)

// harmless takes out what a terminal would obey again, or answer: the answer would be
// typed into the guest.
func harmless(text string) string { return sequences.ReplaceAllString(text, "") }

// connect copies both ways until the console ends, the escape key is pressed, the
// pattern matches, or ctx ends. It closes conn.
func (a *app) connect(ctx context.Context, conn net.Conn, interactive bool, until *regexp.Regexp) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in, stop, err := a.stdin(ctx)
	if err != nil {
		return joined(err, conn.Close())
	}
	typed := make(chan error, 1)
	go func() {
		var to io.Writer = conn
		if interactive {
			to = &untilEscape{to: conn}
		}
		_, err := io.Copy(to, in)
		if errors.Is(err, errEscaped) {
			cancel()
		}
		typed <- err
	}()
	_, err = io.Copy(&untilMatch{to: a.out, pattern: until}, conn)
	left := ctx.Err() // before it is ours
	cancel()
	stopErr := stop()
	typeErr := <-typed
	_ = conn.Close()
	switch {
	case errors.Is(err, errMatched), errors.Is(typeErr, errEscaped):
		return nil
	case left != nil:
		return left
	}
	return joined(ignoring(err, overNow), stopErr)
}

// overNow is what the end of a guest looks like from its socket.
func overNow(err error) bool { return ended(err) || errors.Is(err, net.ErrClosed) }

var (
	errEscaped = errors.New("escape key")
	errMatched = errors.New("pattern matched")
)

// untilEscape is a writer that ends at the escape key.
type untilEscape struct{ to io.Writer }

// Write implements io.Writer.
func (u *untilEscape) Write(p []byte) (int, error) {
	keys, _, escaped := bytes.Cut(p, []byte{escape})
	n, err := u.to.Write(keys)
	if err == nil && escaped {
		err = errEscaped
	}
	return n, err
}

// untilMatch is a writer that ends once the pattern, if there is one, matches what was
// written.
type untilMatch struct {
	to      io.Writer
	pattern *regexp.Regexp
	window  []byte
}

// Write implements io.Writer.
func (u *untilMatch) Write(p []byte) (int, error) {
	n, err := u.to.Write(p)
	if err != nil || u.pattern == nil {
		return n, err
	}
	u.window = append(u.window, p...)
	if over := len(u.window) - untilWindow; over > 0 {
		u.window = append(u.window[:0], u.window[over:]...)
	}
	if u.pattern.Match(u.window) {
		return n, errMatched
	}
	return n, nil
}
