// Package suite is tested inside a guest and outside.
package suite

// Half returns half of an even number.
func Half(n int) (int, bool) {
	if n%2 != 0 {
		return 0, false
	}
	return n / 2, true
}

// Sign returns the sign of n.
func Sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
