package vm

func (v *validator) display(Display) {}
