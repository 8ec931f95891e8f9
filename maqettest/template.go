package maqettest

// Template is a guest that boots once.
type Template struct{}
