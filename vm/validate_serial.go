package vm

func (v *validator) serials([]Serial) {}
