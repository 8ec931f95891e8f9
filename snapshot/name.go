package snapshot

import (
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// undoPrefix begins the names of the snapshots that a load makes, to go back to if it fails.
const undoPrefix = "maqet-undo-"

// isUndo reports whether a snapshot is one of those: it goes with the load.
func isUndo(name string) bool { return strings.HasPrefix(name, undoPrefix) }

// checkName refuses names that could be taken for something else: by QEMU, or by maqet.
func checkName(name string) error {
	if isUndo(name) {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "snapshot name", Msg: `names that begin with "` + undoPrefix + `" are maqet's own`}
	}
	return storage.CheckSnapshotName(name)
}
