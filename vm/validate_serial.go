package vm

import "fmt"

// maxISASerials is how many ports there are besides the console's: QEMU's hw/char/serial-isa.c
// knows four places.
const maxISASerials = 3

func (v *validator) serials(serials []Serial) {
	if len(serials) > MaxSerials {
		v.add("serials", "", fmt.Sprintf("has %d ports, a VM can have %d", len(serials), MaxSerials), "remove some")
	}
	seen, targets, isa := map[string]int{}, map[string]string{}, 0
	for i, s := range serials {
		field := fmt.Sprintf("serials[%d]", i)
		name := s.NameAt(i)
		v.partName(field+".name", name)
		if first, ok := seen[name]; ok {
			v.add(field+".name", name, fmt.Sprintf("is also the name of serials[%d]", first), "give each port a name of its own")
		}
		seen[name] = i
		v.oneOf(field+".type", s.Type, SerialVirtio, SerialISA)
		if s.Kind() == SerialISA {
			if isa++; isa == maxISASerials+1 {
				v.add(field+".type", s.Type, fmt.Sprintf("is the fourth port of this type, a VM can have %d", maxISASerials), `set type to "virtio"`)
			}
		}
		v.serialTarget(field, s, targets)
	}
}

// serialTarget checks where the port's data goes; targets has the paths of those before it,
// with their fields.
func (v *validator) serialTarget(field string, s Serial, targets map[string]string) {
	given := 0
	for _, set := range []bool{s.File != "", s.Socket != "", s.PTY} {
		if set {
			given++
		}
	}
	if given > 1 {
		v.add(field, "", "has more than one of file, socket and pty", "give one of them")
	}
	for _, p := range []struct{ field, path string }{{field + ".file", s.File}, {field + ".socket", s.Socket}} {
		if p.path == "" || !v.text(p.field, p.path) || p.field == field+".socket" && p.path == SerialSocketAuto {
			continue
		}
		if first, ok := targets[p.path]; ok {
			v.add(p.field, p.path, "is also the path of "+first, "give each port a path of its own")
		}
		targets[p.path] = p.field
	}
}
