package vm

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
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
func (v *validator) hardware(c Config) {
	if c.RNG != nil {
		v.rng(*c.RNG)
	}
	if w := c.Watchdog; w != nil {
		v.oneOf("watchdog.model", w.Model, WatchdogI6300ESB, WatchdogIB700)
		v.oneOf("watchdog.action", w.Action, WatchdogReset, WatchdogShutdown, WatchdogPoweroff, WatchdogInjectNMI,
			WatchdogPause, WatchdogDebug, WatchdogNone)
	}
	if c.Vsock != nil && c.Vsock.CID != 0 && (c.Vsock.CID < minCID || c.Vsock.CID > maxCID) {
		v.add("vsock.cid", fmt.Sprint(c.Vsock.CID), "is not an address that a guest can have",
			fmt.Sprintf("use %d to %d, or leave it out", minCID, uint32(maxCID)))
	}
	if g := c.GenerationID; g != "" && g != GenerationIDAuto {
		if _, err := uuid.Parse(g); err != nil || len(g) != len(uuid.UUID{}.String()) {
			v.add("generation_id", g, "is not a UUID", `write it as 01234567-89ab-cdef-0123-456789abcdef, or "auto" for a new one at each start`)
		}
	}
}

func (v *validator) rng(r RNG) {
	if r.Source != "" {
		v.text("rng.source", r.Source)
	}
	if r.MaxBytes < 0 {
		v.add("rng.max_bytes", r.MaxBytes.String(), "is negative", "leave it out for no bound")
	}
	switch p := r.Period.std(); {
	case p == 0:
	case p < time.Millisecond || p > math.MaxUint32*time.Millisecond:
		v.add("rng.period", r.Period.String(), "is out of range", "use 1ms or more, up to 1193h")
	case r.MaxBytes == 0:
		v.add("rng.period", r.Period.String(), "has no meaning without max_bytes", "set max_bytes, or leave it out")
	}
}
