package process

// shares adds the shared folders.
func (b *builder) shares() {}
