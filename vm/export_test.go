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

// ParseTwice is LoadConfig of a file that is given twice.
func ParseTwice(name string, data []byte) (Config, error) {
	l := newLoader(LoadOptions{})
	l.add(name, data)
	l.add(name, data)
	return l.config()
}
