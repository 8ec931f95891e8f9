package vm

import "encoding/json"

// canonical returns what a store would give back for c, so that a configuration
// compares equal to itself after a round trip: empty and nil lists become one.
func canonical(c Config) Config {
	data, err := json.Marshal(c)
	if err != nil {
		return c // a value in Device.Props that JSON can't express: compared as it is
	}
	var out Config
	if json.Unmarshal(data, &out) != nil {
		return c
	}
	return out
}
