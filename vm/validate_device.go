package vm

import (
	"fmt"
	"maps"
	"slices"
)

func (v *validator) devices(c Config) {
	seen := map[string]int{}
	for i, d := range c.Devices {
		field := fmt.Sprintf("devices[%d]", i)
		if !qemuNamePattern.MatchString(d.Driver) {
			v.add(field+".driver", d.Driver, "is not a device's name", "use a name from qemu-system-... -device help")
		}
		if d.ID != "" {
			v.partName(field+".id", d.ID)
			if first, ok := seen[d.ID]; ok {
				v.add(field+".id", d.ID, fmt.Sprintf("is also the ID of devices[%d]", first), "give each device an ID of its own")
			}
			seen[d.ID] = i
		}
		for _, key := range slices.Sorted(maps.Keys(d.Props)) {
			if !qemuNamePattern.MatchString(key) || key == "driver" || key == "id" {
				v.add(field+".props["+key+"]", "", "is not a property's name", "use a name from -device DRIVER,help; driver and id are fields of their own")
			}
		}
	}
}

// hardware checks the devices that have fields of their own.
func (v *validator) hardware(Config) {}
