package process

// seed adds the image for cloud-init.
func (b *builder) seed() {}
