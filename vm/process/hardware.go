package process

// hardware adds the devices that have fields of their own in the configuration.
func (b *builder) hardware() {}
