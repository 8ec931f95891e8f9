package layered

import (
	"slices"
	"strings"

	"github.com/maqet/maqet/internal/spelling"
)

// Nearest returns the name that may have been meant by word, or "": the one that differs
// least, if it does in at most a third of its characters. The case of letters, and - for _,
// make no difference.
func Nearest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, least := "", 0
	for _, name := range names {
		a, b := plain(word), plain(name)
		far := spelling.Distance(a, b)
		if strings.HasPrefix(a, b) && len(b) > 2 || strings.HasPrefix(b, a) && len(a) > 2 {
			far = 1 // one abbreviates the other, or is its plural
		}
		if far == 2 && letters(a) == letters(b) {
			far = 1 // two letters changed places
		}
		if far <= min(len(a), len(b))/3 && (best == "" || far < least) {
			best, least = name, far
		}
	}
	return best
}

// letters returns the bytes of a word in order.
func letters(word string) string {
	b := []byte(word)
	slices.Sort(b)
	return string(b)
}
