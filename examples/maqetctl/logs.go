package main

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
)

func (a *app) logsCommand() *cobra.Command {
	var follow, qemu bool
	var lines int
	cmd := &cobra.Command{
		Use:               "logs VM",
		Short:             "Print what a guest's console has printed",
		Long:              "Print what the guest's console has printed since its last start, also of a VM that\nhas ended. --json makes it one object, or with --follow one for each piece.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			switch {
			case qemu && follow:
				return usagef("--follow is of the console")
			case qemu:
				return a.stderrOf(ctx, m, refs[0], lines)
			case follow:
				return a.follow(ctx, m, refs[0])
			}
			console, err := m.Guest.Console(refs[0])
			if err != nil {
				return err
			}
			text, err := console.Text(ctx)
			if err != nil {
				return err
			}
			return a.logText(refs[0], lastLines(text, lines))
		}),
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until the guest ends")
	cmd.Flags().BoolVar(&qemu, "qemu", false, "print QEMU's stderr instead")
	cmd.Flags().IntVarP(&lines, "lines", "n", 0, "only the last lines; 0: all")
	return cmd
}

// logShown is what 'logs' prints with --json.
type logShown struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func (a *app) logText(name, text string) error {
	return a.show(logShown{name, text}, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

// stderrOf prints QEMU's stderr. The file is the user's own, as the folder it is in; a
// link that somebody put there is not followed.
func (a *app) stderrOf(ctx context.Context, m *maqet.Maqet, ref string, lines int) error {
	inst, err := m.VM.Get(ctx, ref)
	if err != nil {
		return err
	}
	if inst.Runtime.Stderr == "" {
		return &errors.Error{Kind: errors.ErrVMNotRunning, Op: "read QEMU's stderr of VM", VM: inst.Name, Msg: "it was never started"}
	}
	f, err := os.OpenFile(inst.Runtime.Stderr, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return a.logText(inst.Name, lastLines(string(data), lines))
}

func (a *app) follow(ctx context.Context, m *maqet.Maqet, ref string) error {
	console, err := m.Guest.Console(ref)
	if err != nil {
		return err
	}
	r, err := console.Follow(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return a.pieces(ctx, ref, r)
}

// pieces prints what comes from r, until it ends or ctx does.
func (a *app) pieces(ctx context.Context, name string, r io.Reader) error {
	buf := make([]byte, 32<<10)
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		n += kept
		kept = 0
		if a.json && err == nil { // no text of JSON's can have a part of a character
			kept = cutShort(buf[:n])
		}
		if n > kept {
			if err := a.piece(name, buf[:n-kept]); err != nil {
				return err
			}
		}
		copy(buf, buf[n-kept:n])
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return over(ctx)
		case err != nil:
			return err
		}
	}
}

// cutShort returns how many bytes at the end of text are the beginning of a character of
// which the rest is still to come.
func cutShort(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if end := text[len(text)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRune(end) {
				return 0
			}
			return n
		}
	}
	return 0
}

func (a *app) piece(name string, text []byte) error {
	if a.json {
		return a.line(logShown{name, string(text)}, "")
	}
	_, err := a.out.Write(text)
	return err
}

// lastLines returns the last n lines; all for 0.
func lastLines(text string, n int) string {
	at := len(text)
	if n <= 0 {
		return text
	}
	for ; n > 0; n-- {
		i := strings.LastIndexByte(strings.TrimSuffix(text[:at], "\n"), '\n')
		if i < 0 {
			return text
		}
		at = i + 1
	}
	return text[at:]
}
