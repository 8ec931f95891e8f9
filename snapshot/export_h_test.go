package snapshot

// Fits is misfits, for tests.
var Fits = misfits
