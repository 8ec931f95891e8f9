package process

// serials adds the serial ports besides the console.
func (b *builder) serials() {}
