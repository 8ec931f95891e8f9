package qmp

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// printable is every printable ASCII character.
func printable() string {
	var b strings.Builder
	for c := ' '; c <= '~'; c++ {
		b.WriteRune(c)
	}
	return b.String()
}

func TestLayoutsAreWholeAndValid(t *testing.T) {
	for _, name := range []string{"us", "gb", "de"} {
		l, ok := builtinLayout(name)
		require.True(t, ok)
		require.Equal(t, name, l.Name)
		require.NoError(t, l.Validate())
		typed := string(l.Characters())
		for _, c := range printable() + "\n\t\b\x1b" {
			require.Contains(t, typed, string(c), name)
		}
		used := map[string]rune{} // no two characters by the same keys
		var problems []errors.Problem
		for char, chords := range l.table(&problems) {
			var keys []string
			for _, c := range chords {
				keys = append(keys, strings.Join(c, "-"))
			}
			other, twice := used[strings.Join(keys, " ")]
			require.False(t, twice, "%s: %q and %q", name, char, other)
			used[strings.Join(keys, " ")] = char
		}
	}
	require.Len(t, LayoutUS().Characters(), 95+4)
}

func TestLayoutTypes(t *testing.T) {
	for name, c := range map[string]struct {
		layout Layout
		text   string
		want   string
	}{
		"us":      {LayoutUS(), "aZ-\n\t~ ", "a shift-z minus ret tab shift-grave_accent spc"},
		"gb":      {LayoutGB(), "#\"@£€\\q", "backslash shift-2 shift-apostrophe shift-3 alt_r-4 less q"},
		"de":      {LayoutDE(), "yZ@üß|", "z shift-y alt_r-q bracket_left minus alt_r-less"},
		"dead":    {LayoutDE(), "^êÁý", "grave_accent spc grave_accent e equal shift-a equal z"},
		"own":     {Layout{Keys: map[string]string{"x": "ctrl-alt-f1  enter"}}, "xx", "ctrl-alt-f1 ret ctrl-alt-f1 ret"},
		"changed": {Layout{Base: "de", Keys: map[string]string{"@": "alt_r-l"}}, "@y", "alt_r-l z"},
		"nothing": {LayoutUS(), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			chords, err := c.layout.chords("web", c.text)
			require.NoError(t, err)
			var got []string
			for _, c := range chords {
				got = append(got, strings.Join(c, "-"))
			}
			require.Equal(t, c.want, strings.Join(got, " "))
		})
	}
}

func TestLayoutLacksCharacters(t *testing.T) {
	_, err := LayoutUS().chords("web", "aé\nb€\xff")
	var config *errors.ConfigError
	require.ErrorAs(t, err, &config)
	require.Len(t, config.Problems, 3)
	for i, want := range []struct{ field, value, line string }{
		{"text[1]", "é", "line 1"}, {"text[4]", "€", "line 2"}, {"text[5]", `"\xff"`, "line 2"},
	} {
		p := config.Problems[i]
		require.Equal(t, want.field, p.Field)
		require.Equal(t, want.value, p.Value)
		require.Contains(t, p.Message, `"us"`)
		require.Contains(t, p.Fix, want.line)
	}
	_, err = Layout{Name: "mine", Base: "us", Keys: map[string]string{"a": ""}}.chords("web", "a")
	require.ErrorContains(t, err, `"mine"`)
}

func TestParseLayout(t *testing.T) {
	l, err := ParseLayout([]byte(`{"name": "mine", "base": "us", "keys": {"ä": "alt_r-q", "y": "z"}}`))
	require.NoError(t, err)
	require.Equal(t, Layout{Name: "mine", Base: "us", Keys: map[string]string{"ä": "alt_r-q", "y": "z"}}, l)

	_, err = ParseLayout([]byte(`{"base": "klingon", "keys": {"ab": "a", "": "b", "c": "ctrl-nokey", "d": "e--f"}}`))
	var config *errors.ConfigError
	require.ErrorAs(t, err, &config)
	require.Len(t, config.Problems, 5)
	for _, field := range []string{"base", `keys["ab"]`, `keys[""]`, `keys["c"]`, `keys["d"]`} {
		require.True(t, config.Has(field), "%s: %v", field, err)
	}
	_, err = ParseLayout([]byte(`[]`))
	require.ErrorIs(t, err, errors.ErrConfigValidation)
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"name": "x", "base": "de", "keys": {"ä": "alt_r-q e", "y": ""}}`))
	f.Add([]byte(`{"keys": {"a": "-", "\u0000": " ", "bc": "a--b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLayout(data)
		if err != nil {
			return
		}
		chords, err := l.chords("web", string(l.Characters()))
		require.NoError(t, err)
		for _, c := range chords {
			require.NotEmpty(t, c)
		}
	})
}

// TestLayoutsAgreeWithQEMU compares the layouts with QEMU's own tables from characters to
// keys, which it has for VNC clients, as far as names of signs can be told there.
func TestLayoutsAgreeWithQEMU(t *testing.T) {
	for name, file := range map[string]string{"us": "en-us", "gb": "en-gb", "de": "de"} {
		f, err := os.Open("/usr/share/qemu/keymaps/" + file)
		if err != nil && os.Getenv("MAQET_REQUIRE") != "1" {
			t.Skip("QEMU's keymaps are missing: ", err)
		}
		require.NoError(t, err)
		defer f.Close()
		var problems []errors.Problem
		l, _ := builtinLayout(name)
		table := l.table(&problems)
		ways := map[rune][]chord{} // a character can be on several keys
		for lines := bufio.NewScanner(f); lines.Scan(); {
			words := strings.Fields(lines.Text())
			if len(words) < 2 || len(words) > 3 {
				continue // more modifiers than the layouts need
			}
			char, way := signOf(words[0]), chord{keyAt(words[1])}
			if len(words) == 3 {
				way = chord{map[string]string{"shift": "shift", "altgr": "alt_r"}[words[2]], way[0]}
			}
			if way[len(way)-1] != "" {
				ways[char] = append(ways[char], way)
			}
		}
		compared := 0
		for char, chords := range table {
			if ways[char] != nil && len(chords) == 1 {
				require.Contains(t, ways[char], chords[0], "%s: %q", name, char)
				compared++
			}
		}
		require.Greater(t, compared, 90, name)
	}
}

// signOf returns the character of an X keysym's name, 0 for what the test does not know.
func signOf(keysym string) rune {
	if char, size := utf8.DecodeRuneInString(keysym); size == len(keysym) {
		return char
	}
	names := "exclam! quotedbl\" numbersign# dollar$ percent% ampersand& apostrophe' parenleft( parenright) asterisk* " +
		"plus+ comma, minus- period. slash/ colon: semicolon; less< equal= greater> question? at@ bracketleft[ " +
		"backslash\\ bracketright] underscore_ grave` braceleft{ bar| braceright} asciitilde~ asciicircum^ " +
		"adiaeresisä odiaeresisö udiaeresisü ssharpß section§ sterling£ EuroSign€ degree° mu\u00b5"
	for name := range strings.FieldsSeq(names) {
		char, size := utf8.DecodeLastRuneInString(name)
		if name[:len(name)-size] == keysym {
			return char
		}
	}
	return 0
}

// keyAt returns the key with a PC's scan code, of those that carry characters.
func keyAt(code string) string {
	n, err := strconv.ParseUint(strings.TrimPrefix(code, "0x"), 16, 16)
	if err != nil {
		return ""
	}
	rows := map[uint64]string{
		0x02: "1 2 3 4 5 6 7 8 9 0 minus equal", 0x10: "q w e r t y u i o p bracket_left bracket_right",
		0x1e: "a s d f g h j k l semicolon apostrophe grave_accent", 0x2b: "backslash z x c v b n m comma dot slash", 0x56: "less",
	}
	for first, row := range rows {
		if keys := strings.Fields(row); n >= first && n < first+uint64(len(keys)) {
			return keys[n-first]
		}
	}
	return ""
}
