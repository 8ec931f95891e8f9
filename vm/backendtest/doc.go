// Package backendtest proves that a vm.Backend keeps its promises: those of the comments in
// package vm, and what vm.Manager makes of them. Whoever writes a backend runs it in a test:
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, backendtest.Options{New: func(tb testing.TB) backendtest.Harness { ... }})
//	}
package backendtest
