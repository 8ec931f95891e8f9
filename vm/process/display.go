package process

// display adds the screen and who serves it.
func (b *builder) display() {}
