package layered

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlainValue(t *testing.T) {
	for text, want := range map[string]any{
		"": nil, "~": nil, "null": nil, "NULL": nil, "nULL": "nULL",
		"true": true, "False": false, "on": "on", "yes": "yes", "y": "y", "TRUE": true, "tRUE": "tRUE",
		"0": int64(0), "-1": int64(-1), "+7": int64(7), "017": int64(17), "0o17": int64(15), "0x1f": int64(31), "0b11": "0b11", "1_000": "1_000",
		"9223372036854775807": int64(math.MaxInt64), "9223372036854775808": uint64(math.MaxInt64 + 1), "18446744073709551616": Huge{}, "-9223372036854775809": Huge{},
		"0xffffffffffffffff": uint64(math.MaxUint64), "0x1ffffffffffffffff": Huge{},
		"1.5": 1.5, ".5": .5, "1.": 1.0, "1e3": 1000.0, "-1.5E-1": -.15, "1e999": Huge{}, ".inf": math.Inf(1), "-.INF": math.Inf(-1),
		"2001-01-01": "2001-01-01", "1.2.3": "1.2.3", "0x": "0x", "-": "-", "+": "+", ".": ".", "52:54:00:12:34:56": "52:54:00:12:34:56",
	} {
		require.Equal(t, want, plainValue(text), "%q", text)
		_, isText := want.(string)
		require.Equal(t, !isText, LooksTyped(text), "%q", text)
	}
	require.True(t, math.IsNaN(plainValue(".nan").(float64)))
}

func TestParsePlaces(t *testing.T) {
	n, problems := Parse("x.yaml", "/dir", []byte("# one\na: 1\nö:\n  - {b: [x, 'y']}\n  - |\n    text\nc: &n {d: e}\nf: *n\n"))
	require.Empty(t, problems)
	for field, want := range map[string]string{
		"a": "2:4", "ö": "3:1", "ö[0]": "4:5", "ö[0].b": "4:6", "ö[0].b[1]": "4:13", "ö[1]": "5:5", "f.d": "7:11",
		// What is not there is where what is around it is.
		"": "2:1", "zzz": "2:1", "ö[7].b": "3:1", "c.zzz": "7:1", "a.b": "2:4", "ö[x]": "3:1",
	} {
		at := n.Find(field)
		require.Equal(t, want, fmt.Sprintf("%d:%d", at.Line, at.Column), "%q", field)
	}
	keys, problems := Parse("x.yaml", "/dir", []byte("labels: {a.b: 1, 'c]d': 2, 'e].f': {g: 3}}"))
	require.Empty(t, problems)
	require.Equal(t, 15, keys.Find("labels[a.b]").Column)
	require.Equal(t, 25, keys.Find("labels[c]d]").Column)
}

// TestParseLimits: each limit is an error at once, however hostile the file.
func TestParseLimits(t *testing.T) {
	deep := func(open, end string) string { return strings.Repeat(open, 20000) + "x" + strings.Repeat(end, 20000) }
	for name, text := range map[string]string{
		"brackets": "a: " + deep("[", "]"), "braces": "a: " + deep("{b: ", "}"), "dashes": strings.Repeat("- ", 20000) + "x",
		"levels": func() string {
			s := ""
			for i := range 40 {
				s += strings.Repeat(" ", i) + "a:\n"
			}
			return s
		}(),
		"values": "a: [" + strings.Repeat("x, ", 20000) + "]",
		"keys": func() string {
			s := ""
			for i := range 11000 {
				s += fmt.Sprintf("a%d:\n", i)
			}
			return s
		}(),
		"bomb":    "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n",
		"anchors": strings.Repeat("&a ", 50000) + "x", "tags": strings.Repeat("!a ", 50000) + "x", "questions": strings.Repeat("? ", 20000) + "x",
		"bytes": strings.Repeat("#", MaxBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse("x.yaml", "/dir", []byte(text))
			require.Len(t, problems, 1, "said once")
			require.Equal(t, "x.yaml", problems[0].File)
			require.NotEmpty(t, problems[0].Fix)
		})
	}
	for name, text := range map[string]string{
		"32 levels": "a: " + strings.Repeat("[", 30) + strings.Repeat("]", 30), "9000 values": "a: [" + strings.Repeat("x, ", 9000) + "]",
		"a long text": "a: |\n" + strings.Repeat("  a line of a script\n", 40000), "comments": strings.Repeat("# a comment\n", 50000) + "a: 1",
	} {
		_, problems := Parse("x.yaml", "/dir", []byte(text))
		require.Empty(t, problems, name)
	}
}

func TestSnippet(t *testing.T) {
	for _, c := range []struct{ line, caret, text string }{
		{"memory: lots", "        ^", "memory: lots"},
		{"\tmemory: lots", "         ^", " memory: lots"},
	} {
		at := Pos{&Source{lines: []string{c.line}}, 1, len(c.caret)}
		require.Equal(t, "   1 | "+c.text+"\n     | "+c.caret, at.snippet())
	}
	long := Pos{&Source{lines: []string{strings.Repeat("ä", 300) + "X" + strings.Repeat("b", 300)}}, 1, 301}
	lines := strings.Split(long.snippet(), "\n")
	require.Less(t, len([]rune(lines[0])), 120)
	require.Equal(t, 'X', []rune(lines[0])[len(lines[1])-1], "the caret is below what it means:\n%s", long.snippet())
	require.Empty(t, Pos{}.snippet())
	require.Empty(t, Pos{&Source{lines: []string{" "}}, 1, 1}.snippet())
	require.Equal(t, "nowhere", Pos{}.String())
}

func TestNearest(t *testing.T) {
	keys := []string{"name", "arch", "machine", "memory", "max_memory", "disks", "networks", "boot_order", "read_only", "id"}
	for word, want := range map[string]string{
		"memroy": "memory", "Memory": "memory", "nmae": "name", "disk": "disks", "network": "networks", "boot-order": "boot_order", "bootorder": "boot_order",
		"readonly": "read_only", "mem": "memory", "color": "", "x": "", "": "", "ip": "", strings.Repeat("memory", 20): "",
	} {
		require.Equal(t, want, Nearest(word, keys), "%q", word)
	}
	require.Empty(t, Nearest("x", nil))
}
