// Package qemuarg writes values of QEMU's command line so that they arrive as they are.
package qemuarg

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/maqet/maqet/errors"
)

// Refused lists options that would take QEMU out of the hands of who runs it, and why.
var Refused = map[string]string{
	"daemonize": "QEMU would leave the process that is watched",
	"runas":     "changing the user clears the signal that ends QEMU with its owner",
	"run-with":  "it can change the user, or leave a second process (async-teardown)",
}

// Escape doubles commas, the one thing that ends a value in QEMU's key=value form
// (qemu-options, "-device ... a comma in a value is written twice").
func Escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// Props are properties of an object, in JSON form.
type Props map[string]any

// JSON returns the properties in the form in which no value can end its own quotes. Keys are
// sorted, so that equal configurations have equal command lines.
func (p Props) JSON() (string, error) {
	b, err := json.Marshal(p)
	if err == nil {
		err = expressible(map[string]any(p))
	}
	return string(b), err
}

// expressible refuses texts that would be other ones in QEMU: Go's JSON replaces what is
// not UTF-8, and QEMU's takes a NUL for two other bytes.
func expressible(v any) error {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return fmt.Errorf("%q is not UTF-8, or has a NUL character", v)
		}
	case Props:
		return expressible(map[string]any(v))
	case map[string]any:
		for key, value := range v {
			if err := errors.Join(expressible(key), expressible(value)); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := expressible(value); err != nil {
				return err
			}
		}
	}
	return nil
}
