package guest

import "embed"

// initSource holds the sources of the init program, in the folders that the packages
// have below this one. They are compiled for the guest when the first one boots.
//
//go:embed init/*.go wire/*.go
var initSource embed.FS
