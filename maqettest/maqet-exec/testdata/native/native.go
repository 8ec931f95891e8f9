// Package native has a test with cgo.
package native

// #include <stdlib.h>
// static int twice(int n) { return abs(2 * n); }
import "C"

// Twice is computed in C.
func Twice(n int) int { return int(C.twice(C.int(n))) }
