//go:build !linux

package qmp

// imageLocked is not known here.
func imageLocked(string) bool { return false }
