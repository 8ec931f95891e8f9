package maqettest

import (
	"fmt"
	"os"
)

// Main runs the tests of a package, ends all templates, and returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(maqettest.Main(m)) }
//
// What can't be cleared away is said on standard error, and makes a code of 0 one of 1. Without
// Main nothing is left either: when the process ends, however it ends, the kernel ends
// the templates, and their folders are removed by a process that waits for that. Main only sees
// to it that it has happened by the time the tests are over. m is a *testing.M.
func Main(m interface{ Run() int }) int {
	code := m.Run()
	if err := Close(); err != nil {
		fmt.Fprintf(os.Stderr, "maqettest: clearing templates away: %v\n", err)
		code = max(code, 1)
	}
	return code
}

// Close ends all templates of the program, also those that boot. It is for a TestMain that can't
// use [Main], and must not be called while tests have forks. A later Fork boots its template
// anew.
func Close() error { return program.close() }
