package guesttest

import (
	"slices"
	"strings"
)

// passed are the variables that the Go runtime, package testing and the dynamic linker look
// at. What names the host's folders (HOME, PATH, TMPDIR) is the guest's own.
var passed = []string{
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK", "GOCOVERDIR",
	"LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CI",
}

// Env returns those of the variables in environ, each "KEY=value", that a test needs wherever
// it runs, and those of more: names, or whole settings.
func Env(environ, more []string) []string {
	var env []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains(passed, name) || slices.Contains(more, name) {
			env = append(env, kv)
		}
	}
	for _, kv := range more {
		if strings.Contains(kv, "=") {
			env = append(env, kv)
		}
	}
	return env
}

// lookup returns the last setting of a variable in env.
func lookup(env []string, name string) string {
	for _, kv := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(kv, name+"="); ok {
			return value
		}
	}
	return ""
}
