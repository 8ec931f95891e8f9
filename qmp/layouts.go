package qmp

import (
	"maps"
	"strings"
)

// Built-in layouts, as Linux (xkeyboard-config's us, gb and de) and Windows have them.

// LayoutUS returns the US layout: all printable ASCII characters, and newline, tabulator,
// backspace and escape, which other layouts take from it.
func LayoutUS() Layout {
	keys := caps(
		"grave_accent", "`~", "1", "1!", "2", "2@", "3", "3#", "4", "4$", "5", "5%", "6", "6^", "7", "7&",
		"8", "8*", "9", "9(", "0", "0)", "minus", "-_", "equal", "=+",
		"q", "qQ", "w", "wW", "e", "eE", "r", "rR", "t", "tT", "y", "yY", "u", "uU", "i", "iI", "o", "oO", "p", "pP",
		"bracket_left", "[{", "bracket_right", "]}", "backslash", `\|`,
		"a", "aA", "s", "sS", "d", "dD", "f", "fF", "g", "gG", "h", "hH", "j", "jJ", "k", "kK", "l", "lL",
		"semicolon", ";:", "apostrophe", `'"`,
		"z", "zZ", "x", "xX", "c", "cC", "v", "vV", "b", "bB", "n", "nN", "m", "mM",
		"comma", ",<", "dot", ".>", "slash", "/?",
	)
	maps.Copy(keys, map[string]string{" ": "spc", "\n": "ret", "\t": "tab", "\b": "backspace", "\x1b": "esc"})
	return Layout{Name: "us", Keys: keys}
}

// LayoutGB returns the layout of the United Kingdom.
func LayoutGB() Layout {
	return Layout{Name: "gb", Base: "us", Keys: caps(
		"grave_accent", "`¬", "2", `2"`, "3", "3£", "4", "4$€", "apostrophe", "'@", "backslash", "#~", "less", `\|`,
	)}
}

// LayoutDE returns the German layout, dead keys included. Characters that Linux and
// Windows have on different keys, or only one of them has, are left out.
func LayoutDE() Layout {
	keys := caps(
		"1", "1!", "2", `2"²`, "3", "3§³", "4", "4$", "5", "5%", "6", "6&", "7", "7/{", "8", "8([", "9", "9)]", "0", "0=}",
		"minus", `ß?\`, "q", "qQ@", "e", "eE€", "y", "zZ", "bracket_left", "üÜ", "bracket_right", "+*~",
		"semicolon", "öÖ", "apostrophe", "äÄ", "backslash", "#'",
		"z", "yY", "m", "mMµ", "comma", ",;", "dot", ".:", "slash", "-_", "less", "<>|",
	)
	keys["°"] = "shift-grave_accent"
	dead(keys, "grave_accent", "^ aâ eê iî oô uû AÂ EÊ IÎ OÔ UÛ")
	dead(keys, "equal", "´ aá eé ií oó uú yý AÁ EÉ IÍ OÓ UÚ YÝ")
	dead(keys, "shift-equal", "` aà eè iì oò uù AÀ EÈ IÌ OÒ UÙ")
	return Layout{Name: "de", Base: "us", Keys: keys}
}

// builtinLayout returns the layout of that name.
func builtinLayout(name string) (l Layout, ok bool) {
	switch name {
	case "us":
		return LayoutUS(), true
	case "gb", "uk":
		return LayoutGB(), true
	case "de":
		return LayoutDE(), true
	}
	return Layout{}, false
}

// caps reads pairs of a key and what is printed on it: what it types alone, with shift,
// and with AltGr.
func caps(pairs ...string) map[string]string {
	keys := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		level := 0
		for _, char := range pairs[i+1] {
			keys[string(char)] = []string{"", "shift-", "alt_r-"}[level] + pairs[i]
			level++
		}
	}
	return keys
}

// dead adds what a dead key types: its own sign, together with the space bar, and words
// of a letter and that letter with the sign.
func dead(keys map[string]string, key, text string) {
	for word := range strings.FieldsSeq(text) {
		chars := []rune(word)
		if len(chars) == 1 {
			keys[word] = key + " spc"
			continue
		}
		letter := string(chars[0])
		press, moved := keys[letter] // German has y and z on each other's keys
		if lower := strings.ToLower(letter); !moved && lower == letter {
			press = lower
		} else if !moved {
			press = "shift-" + lower
		}
		keys[string(chars[1])] = key + " " + press
	}
}
