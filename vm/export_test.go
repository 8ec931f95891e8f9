package vm

// LoadUnchecked is LoadConfigWith without Validate, for tests of what files mean.
func LoadUnchecked(o LoadOptions, paths ...string) (Config, error) {
	l := newLoader(o)
	for _, path := range paths {
		if data, ok := l.read(path); ok {
			l.add(path, data)
		}
	}
	cfg, _ := l.decode()
	return l.result(cfg)
}
