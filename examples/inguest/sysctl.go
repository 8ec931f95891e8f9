// Package inguest changes the machine that it runs on, as only root can. No developer wants its
// tests on a machine of theirs, so each test runs itself in a guest, by maqettest.InGuest: there
// it is root, and the guest is gone afterwards.
//
//	go test -v ./examples/inguest
package inguest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Setting is a parameter of the kernel, such as "net.ipv4.ip_forward", and its value (sysctl(8)).
type Setting struct{ Name, Value string }

// Tune sets parameters of the kernel, all of them or none. undo brings back what they were.
func Tune(settings ...Setting) (undo func() error, err error) {
	var was []Setting
	undo = func() (err error) {
		for _, s := range slices.Backward(was) {
			err = errors.Join(err, os.WriteFile(s.path(), []byte(s.Value), 0))
		}
		return err
	}
	for _, s := range settings {
		old, err := os.ReadFile(s.path())
		if err == nil {
			err = os.WriteFile(s.path(), []byte(s.Value), 0)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err), undo())
		}
		was = append(was, Setting{s.Name, string(old)})
	}
	return undo, nil
}

func (s Setting) path() string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(s.Name, ".", "/"))
}
