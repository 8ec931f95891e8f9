package layered

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// The forms of numbers in YAML 1.2, "10.3.2. Tag Resolution" of the core schema.
var (
	intForm   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	octalForm = regexp.MustCompile(`^0o[0-7]+$`)
	hexForm   = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// plainValue returns what a scalar without quotes means; nil for null.
func plainValue(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	}
	if !strings.ContainsAny(text[:1], "+-.0123456789") {
		return text
	}
	switch {
	case intForm.MatchString(text):
		return whole(text, 10)
	case octalForm.MatchString(text):
		return whole(text[2:], 8)
	case hexForm.MatchString(text):
		return whole(text[2:], 16)
	case floatForm.MatchString(text):
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return Huge{}
		}
		return f
	}
	return text
}

// whole returns an int64, a uint64 for what is too large for it, or Huge.
func whole(digits string, base int) any {
	if n, err := strconv.ParseInt(digits, base, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, 64); err == nil {
		return n
	}
	return Huge{}
}

// describe says in words what n is.
func describe(n *Node) string {
	switch n.Kind {
	case Map:
		return "a mapping"
	case List:
		return "a list"
	case Null:
		return "nothing"
	}
	switch n.Value.(type) {
	case bool:
		return "true or false"
	case string:
		return "a text"
	default:
		return "a number"
	}
}

// LooksTyped reports whether a text needs quotes in a file, because without them it would
// be a number, a boolean or null.
func LooksTyped(text string) bool {
	_, isText := plainValue(text).(string)
	return !isText
}
