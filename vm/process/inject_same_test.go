package process

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// sameBut reports how two command lines differ beyond that one has a text where the other
// has another one: in their options, in what QEMU's parsers make of the values, or in a
// value that is not the text as a whole, or around it.
func sameBut(harmless, nasty []argument, from, to string) error {
	if len(harmless) != len(nasty) {
		return fmt.Errorf("%d arguments instead of %d", len(nasty), len(harmless))
	}
	for i, h := range harmless {
		n := nasty[i]
		if h.option != n.option || h.bare != n.bare {
			return fmt.Errorf("argument %d is -%s instead of -%s", i, n.option, h.option)
		}
		if err := sameValue(parsed(h), parsed(n), from, to); err != nil {
			return fmt.Errorf("-%s %s: %w", n.option, n.value, err)
		}
	}
	return nil
}

// wholeOptions are those whose value QEMU takes as it is.
var wholeOptions = map[string]bool{"kernel": true, "initrd": true, "append": true, "bios": true, "uuid": true, "cpu": true}

// parsed is what QEMU's parsers make of an option's value (QEMU, qobject/json-parser.c and
// util/keyval.c).
func parsed(a argument) any {
	if a.bare || wholeOptions[a.option] {
		return a.value
	}
	if strings.HasPrefix(a.value, "{") {
		var v any
		if err := json.Unmarshal([]byte(a.value), &v); err != nil {
			return err
		}
		return v
	}
	const comma = "\x00"
	pairs := map[string]any{}
	for i, pair := range strings.Split(strings.ReplaceAll(a.value, ",,", comma), ",") {
		key, value, found := strings.Cut(pair, "=")
		if !found || strings.Contains(key, comma) {
			key, value = fmt.Sprint("#", i), pair
		}
		pairs[key] = strings.ReplaceAll(value, comma, ",")
	}
	return pairs
}

func sameValue(harmless, nasty any, from, to string) error {
	switch h := harmless.(type) {
	case string:
		n, ok := nasty.(string)
		if !ok || n != h && n != strings.ReplaceAll(h, from, to) {
			return fmt.Errorf("%q instead of %q with %q for %q", nasty, h, to, from)
		}
		return nil
	case map[string]any:
		n, ok := nasty.(map[string]any)
		if !ok || len(n) != len(h) {
			return fmt.Errorf("%v instead of %v", nasty, harmless)
		}
		for key, value := range h {
			other, there := n[key]
			if !there {
				other, there = n[strings.ReplaceAll(key, from, to)]
			}
			if !there {
				return fmt.Errorf("no %q in %v", key, nasty)
			}
			if err := sameValue(value, other, from, to); err != nil {
				return err
			}
		}
		return nil
	case []any:
		n, ok := nasty.([]any)
		if !ok || len(n) != len(h) {
			return fmt.Errorf("%v instead of %v", nasty, harmless)
		}
		for i := range h {
			if err := sameValue(h[i], n[i], from, to); err != nil {
				return err
			}
		}
		return nil
	}
	if !reflect.DeepEqual(harmless, nasty) {
		return fmt.Errorf("%v instead of %v", nasty, harmless)
	}
	return nil
}
