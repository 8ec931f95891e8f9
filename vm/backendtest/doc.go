// Package backendtest proves that a vm.Backend keeps its promises: those of the comments in
// package vm, and what vm.Manager makes of them, from the first check of a configuration to
// guests that are killed behind everybody's back. Whoever writes a backend runs it in a test, also
// in another module:
//
//	func TestConformance(t *testing.T) {
//		backendtest.Run(t, backendtest.Options{
//			Config: vm.Config{Backend: "mine"},
//			New: func(tb testing.TB) backendtest.Harness {
//				dir := tb.TempDir()
//				return backendtest.Harness{
//					Open: func(testing.TB) vm.Backend { return mine.New(dir) },
//					Kill: func(tb testing.TB, inst vm.Instance) { ... },
//					Left: func(tb testing.TB) []string { ... },
//				}
//			},
//		})
//	}
//
// Each case is a subtest, so that "-run TestConformance/Launch" runs those whose name begins so.
// What the backend can't do is said by Options.Lacks. The cases that need it are not run then,
// and one line of the log names them: none is skipped, and none passes without having done
// anything.
//
// Most cases need no system in the guest: its CPUs never run, or it runs a kernel of some hundred
// bytes that the package brings along (see testdata/pc.S). System boots the default guest twice,
// for all that needs one, and looks for its kernel where guest.NewBooter does.
//
// A case has a Harness of its own, and may open several backends on it: that plays processes
// that work in one place. After each case, and wherever something is undone, Harness.Left must
// list what it did before.
package backendtest
