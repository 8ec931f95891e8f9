package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// loadConfig reads configuration files; later ones win.
//
// It stands in for vm.LoadConfig(paths...), which takes its place once it is there.
func loadConfig(paths ...string) (vm.Config, error) {
	var cfg vm.Config
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return cfg, errors.Wrap(errors.ErrConfigFileNotFound, "read configuration", "", err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&cfg); err != nil {
			return cfg, &errors.ConfigError{Problems: []errors.Problem{{File: path, Message: fmt.Sprint(err)}}}
		}
	}
	return cfg, nil
}
