// Package asciijson writes JSON with ASCII only, for readers that take nothing else.
package asciijson

import (
	"fmt"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape returns the same JSON with what is not ASCII, which stands only in strings,
// escaped. libvirt 11 refuses commands with other UTF-8 ("failed to parse JSON: invalid
// utf-8 string"). Bytes that are no UTF-8 become U+FFFD. text itself is returned when it
// is ASCII already.
func Escape(text []byte) []byte {
	if !slices.ContainsFunc(text, func(b byte) bool { return b >= utf8.RuneSelf }) {
		return text
	}
	out := make([]byte, 0, 2*len(text))
	for _, r := range string(text) {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}
