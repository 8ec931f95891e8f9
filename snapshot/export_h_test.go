package snapshot

// Fits is for tests.
var Fits = fits
