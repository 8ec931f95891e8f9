package vm

func (v *validator) cloudInit(*CloudInit) {}
