package maqettest

type insideOptions struct {
	files, env []string
	template   *Template // nil: a guest is booted
}

// ForkOf has [InGuest] run the test in a fork of the template, instead of a guest that it
// boots. Options for what is booted have no effect then.
//
//	var lab = maqettest.NewTemplate()
//
//	func TestMount(t *testing.T) {
//		maqettest.InGuest(t, maqettest.ForkOf(lab))
func ForkOf(template *Template) Option {
	return func(o *options) { o.inside.template = template }
}

// Files has [InGuest] copy more files and folders of the host than the package's testdata, to
// the same paths in the guest. Relative ones begin in the working directory.
func Files(paths ...string) Option {
	return func(o *options) { o.inside.files = append(o.inside.files, paths...) }
}

// Env has [InGuest] pass more environment variables on than those that the Go runtime looks
// at: by name, or as a whole, "KEY=value".
func Env(vars ...string) Option {
	return func(o *options) { o.inside.env = append(o.inside.env, vars...) }
}
