//go:build !linux

package imagelock

import "os"

// Of is not known here.
func Of(string) Use { return None }

// Open is not known here.
func Open(string) bool { return false }

// Holders is not known here.
func Holders(string) []Holder { return nil }

// Exclude claims nothing here.
func Exclude(string) (*Hold, error) { return nil, nil }

// Share claims nothing here.
func Share(string) (*Hold, error) { return nil, nil }

// Read claims nothing here.
func Read(string) (*Hold, error) { return nil, nil }

// ExcludeFile claims nothing here.
func ExcludeFile(*os.File) error { return nil }

// Current is not known here.
func Current(*os.File, string) bool { return true }

// Excluded is not known here.
func Excluded(string) bool { return false }
