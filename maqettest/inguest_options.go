package maqettest

type insideOptions struct {
	files, env []string
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
