package vm

func (v *validator) blobs(Config) {}
