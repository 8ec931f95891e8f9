package qmp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/spelling"
)

// keyCodes are the names of all keys that QEMU knows, those of 7.2 and what was added
// up to 10.0 (QEMU QMP Reference Manual, "QKeyCode"), each between spaces. f13 to f24
// came with 8.0: an older QEMU answers them with an *errors.QMPError.
const keyCodes = " shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal " +
	"backspace tab q w e r t y u i o p bracket_left bracket_right ret a s d f g h j k l semicolon " +
	"apostrophe grave_accent backslash z x c v b n m comma dot slash asterisk spc caps_lock f1 f2 f3 " +
	"f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_divide kp_multiply kp_subtract kp_add kp_enter " +
	"kp_decimal sysrq kp_0 kp_1 kp_2 kp_3 kp_4 kp_5 kp_6 kp_7 kp_8 kp_9 less f11 f12 print home pgup " +
	"pgdn end left up down right insert delete stop again props undo front copy open paste find cut " +
	"lf help meta_l meta_r compose pause ro hiragana henkan yen muhenkan katakanahiragana kp_comma " +
	"kp_equals power sleep wake audionext audioprev audiostop audioplay audiomute volumeup volumedown " +
	"mediaselect mail calculator computer ac_home ac_back ac_forward ac_refresh ac_bookmarks lang1 " +
	"lang2 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 unmapped "

// KeyNames returns the names of all keys as QEMU has them (QEMU QMP Reference Manual,
// "QKeyCode"). The keyboard also takes usual other names, such as enter, del and win.
func KeyNames() []string { return strings.Fields(keyCodes) }

// keyCode returns QEMU's name of a key, from that or a usual other name. Case does not
// matter, except that of a single letter: "A" would hide that shift is needed.
func keyCode(name string) (code string, ok bool) {
	if len(name) > 1 {
		name = strings.ToLower(name)
	}
	if alias := keyAlias(name); alias != "" {
		return alias, true
	}
	ok = name != "" && !strings.ContainsRune(name, ' ') && strings.Contains(keyCodes, " "+name+" ")
	return name, ok
}

// keyAlias returns QEMU's name for what people, other tools and older QEMUs call a key:
// "enter", "pageup", "win", or the character on it.
func keyAlias(name string) string {
	switch name {
	case "enter", "return":
		return "ret"
	case "escape":
		return "esc"
	case "del":
		return "delete"
	case "ins":
		return "insert"
	case "space", "spacebar":
		return "spc"
	case "bksp", "bs":
		return "backspace"
	case "pageup", "page_up", "prior":
		return "pgup"
	case "pagedown", "page_down", "pgdown", "next":
		return "pgdn"
	case "control", "control_l", "ctrl_l":
		return "ctrl"
	case "control_r":
		return "ctrl_r"
	case "shift_l":
		return "shift"
	case "alt_l", "option":
		return "alt"
	case "altgr":
		return "alt_r"
	case "win", "windows", "super", "super_l", "meta", "cmd", "command", "win_l":
		return "meta_l"
	case "super_r", "win_r":
		return "meta_r"
	case "prtsc", "printscreen", "print_screen":
		return "print"
	case "break":
		return "pause"
	case "capslock":
		return "caps_lock"
	case "numlock":
		return "num_lock"
	case "scrolllock", "scrlk":
		return "scroll_lock"
	case "period":
		return "dot"
	case "hyphen", "dash":
		return "minus"
	case "equals":
		return "equal"
	case "quote":
		return "apostrophe"
	case "grave", "backtick":
		return "grave_accent"
	}
	return keyOfSign(name)
}

// keyOfSign returns the key that has a sign on it on a US keyboard, without shift. The
// minus is not among them: in a chord it stands between names.
func keyOfSign(name string) string {
	switch name {
	case "=":
		return "equal"
	case "[":
		return "bracket_left"
	case "]":
		return "bracket_right"
	case ";":
		return "semicolon"
	case "'":
		return "apostrophe"
	case "`":
		return "grave_accent"
	case "\\":
		return "backslash"
	case ",":
		return "comma"
	case ".":
		return "dot"
	case "/":
		return "slash"
	case "<":
		return "less"
	}
	return ""
}

// chord is keys that are down together, by QEMU's names, in the order of pressing.
type chord []string

func isModifier(code string) bool {
	switch code {
	case "shift", "shift_r", "ctrl", "ctrl_r", "alt", "alt_r", "meta_l", "meta_r":
		return true
	}
	return false
}

// onlyModifiers reports whether no other key is in the chord.
func (c chord) onlyModifiers() bool {
	return !slices.ContainsFunc(c, func(code string) bool { return !isModifier(code) })
}

// parseChord reads names of keys joined by '-'. What is wrong is added to problems.
func parseChord(field, text string, problems *[]errors.Problem) (c chord) {
	for name := range strings.SplitSeq(text, "-") {
		code, ok := keyCode(name)
		if !ok {
			*problems = append(*problems, unknownKey(field, text, name))
			continue
		}
		if !slices.Contains(c, code) {
			c = append(c, code)
		}
	}
	return c
}

func unknownKey(field, text, name string) errors.Problem {
	p := errors.Problem{Field: field, Value: text}
	switch {
	case name == "":
		p.Message, p.Fix = "a key is missing", `join names by single '-'; the key '-' itself is called "minus"`
	case len(name) == 1 && 'A' <= name[0] && name[0] <= 'Z':
		p.Message, p.Fix = "no key is called "+name, `write "shift-`+strings.ToLower(name)+`"`
	default:
		p.Message, p.Fix = "no key is called "+strconv.Quote(shorten(name)), "did you mean "+strings.Join(nearestKeys(name), ", ")+"?"
	}
	return p
}

// nearestKeys returns the three names that differ least from name.
func nearestKeys(name string) []string {
	name = strings.ToLower(shorten(name))
	all := KeyNames()
	distance := make(map[string]int, len(all))
	for _, code := range all {
		distance[code] = spelling.Distance(name, code)
	}
	slices.SortStableFunc(all, func(a, b string) int { return distance[a] - distance[b] })
	return all[:3]
}

// parseKeys reads the arguments of SendKeys: see there for modifiers on their own.
func parseKeys(ref string, keys []string) ([]chord, error) {
	var problems []errors.Problem
	var out []chord
	var held chord // modifiers that wait for another key
	for i, text := range keys {
		for _, code := range parseChord(fmt.Sprintf("keys[%d]", i), text, &problems) {
			if !slices.Contains(held, code) {
				held = append(held, code)
			}
		}
		if i == len(keys)-1 || !held.onlyModifiers() {
			out, held = append(out, held), nil
		}
	}
	if len(problems) > 0 {
		return nil, &errors.ConfigError{VM: ref, Problems: problems}
	}
	return out, nil
}
