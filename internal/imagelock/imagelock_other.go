//go:build !linux

package imagelock

// Of is not known here.
func Of(string) Use { return None }

// Open is not known here.
func Open(string) bool { return false }

// Holders is not known here.
func Holders(string) []Holder { return nil }
