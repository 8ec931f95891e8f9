package vm

func (v *validator) display(d Display) {
	v.oneOf("display.type", d.Type, DisplayNone, DisplayVNC, DisplaySpice)
	v.oneOf("display.adapter", d.Adapter, AdapterNone, AdapterStd, AdapterVirtio, AdapterQXL, AdapterCirrus, AdapterRAMFB)
	if d.PasswordFile == "" {
		return
	}
	v.text("display.password_file", d.PasswordFile)
	if d.Type == "" || d.Type == DisplayNone {
		v.add("display.password_file", d.PasswordFile, "protects nothing without a display to connect to", `set type to "vnc" or "spice", or leave it out`)
	}
}
