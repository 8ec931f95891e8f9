package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// show prints v as JSON if that is asked for, else what text writes.
func (a *app) show(v any, text func(w io.Writer) error) error {
	if !a.json {
		return text(a.out)
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// line prints v as one line of JSON if that is asked for, else the text: for commands
// that go on.
func (a *app) line(v any, text string) error {
	if !a.json {
		_, err := fmt.Fprintln(a.out, text)
		return err
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table returns what writes rows below a header, in columns.
func table(header string, rows [][]string) func(io.Writer) error {
	return func(out io.Writer) error {
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
		for _, row := range rows {
			for i, cell := range row {
				row[i] = printable(cell)
			}
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		return w.Flush()
	}
}

// pairs returns what writes names and values, one pair a line; those without a value are
// left out.
func pairs(list ...[2]string) func(io.Writer) error {
	return func(out io.Writer) error {
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		for _, p := range list {
			if p[1] != "" {
				fmt.Fprintf(w, "%s\t%s\n", p[0], printable(p[1]))
			}
		}
		return w.Flush()
	}
}

// printable keeps what a guest or a file says from moving the cursor or worse.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// deed is what a command that changes a VM prints: which, and what was done.
type deed struct {
	Name   string `json:"name"`
	ID     string `json:"id,omitempty"`
	Action string `json:"action"`
}

// did prints a deed.
func (a *app) did(d deed) error {
	return a.show(d, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: %s\n", d.Name, d.Action)
		return err
	})
}

// deeds prints several.
func (a *app) deeds(list []deed) error {
	return a.show(list, func(w io.Writer) error {
		for _, d := range list {
			if _, err := fmt.Fprintf(w, "%s: %s\n", d.Name, d.Action); err != nil {
				return err
			}
		}
		return nil
	})
}
