// Package testhost says what tests do on a host that lacks something: a program, a kernel,
// a right. It is for tests only.
package testhost

import (
	"os"
	"testing"
)

// EnvRequire is the environment variable that is 1 where nothing may be lacking, as in
// "make test": what a host lacks is a failure then, so that no test is skipped unnoticed.
const EnvRequire = "MAQET_REQUIRE"

// Lacks skips the test, or fails it where [EnvRequire] is 1. It does not return; why is
// what the host lacks and how to get it, as for [testing.TB.Skip].
func Lacks(tb testing.TB, why ...any) {
	tb.Helper()
	if os.Getenv(EnvRequire) == "1" {
		tb.Fatal(why...)
	}
	tb.Skip(why...)
}

// Needs is [Lacks] if there is an error, and nothing otherwise. what is what the test needs,
// and err what came of looking for it.
func Needs(tb testing.TB, what string, err error) {
	tb.Helper()
	if err != nil {
		Lacks(tb, what, "is needed:", err)
	}
}
