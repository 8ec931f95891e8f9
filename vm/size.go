package vm

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is an amount of memory or storage in bytes. As text it is a number with an
// optional unit, all powers of 1024: "512M", "1.5G", "4 GiB", "1073741824".
// Letters may be of either case; K, M, G, T and P may be followed by B or iB.
type Size int64

// Units of [Size].
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// DefaultMemory is what an empty Config.Memory means.
const DefaultMemory = 256 * MiB

var sizeUnits = map[string]Size{
	"": 1, "B": 1, "K": KiB, "M": MiB, "G": GiB, "T": TiB, "P": 1 << 50,
}

// ParseSize reads the text form. It refuses negative amounts, fractions of a byte
// and anything above 2^63-1 bytes.
func ParseSize(s string) (Size, error) {
	text := strings.ToUpper(strings.TrimSpace(s))
	i := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(text)
	}
	number, unit := text[:i], strings.TrimSpace(text[i:])
	if len(unit) > 1 {
		unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I")
	}
	factor, ok := sizeUnits[unit]
	if !ok || number == "" {
		return 0, fmt.Errorf("%q is not a size: write a number and a unit, such as 512M or 1.5G", s)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n > math.MaxInt64/int64(factor) {
			return 0, fmt.Errorf("size %q is too large", s)
		}
		return Size(n) * factor, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: write a number and a unit, such as 512M or 1.5G", s)
	}
	b := f * float64(factor)
	if b != math.Trunc(b) {
		return 0, fmt.Errorf("size %q is not a whole number of bytes: write a unit, such as 512M", s)
	}
	if b >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return Size(b), nil
}

// String returns the shortest exact text: "512M", "1536M", "1000".
func (s Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}} {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) error {
	v, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// UnmarshalJSON reads a text or a number of bytes.
func (s *Size) UnmarshalJSON(data []byte) error {
	return s.UnmarshalText([]byte(strings.Trim(string(data), `"`)))
}
