package storage

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/maqet/maqet/errors"
)

// maxSnapshotName is how many bytes of a snapshot's name QEMU keeps: it cuts off what is
// beyond, wherever a character ends (QEMUSnapshotInfo.name in include/block/snapshot.h, with
// a zero byte at its end).
const maxSnapshotName = 255

// CheckSnapshotName says why a name is none for a snapshot: it has to be UTF-8 of 1 to 255
// bytes without control characters, or QEMU would change it, or could not tell it in JSON; and
// not all digits, because QEMU loads the snapshot with that ID rather than the one of that name
// (block/qcow2-snapshot.c, find_snapshot_by_id_or_name). Spaces, quotes, commas and dashes are
// fine.
func CheckSnapshotName(name string) error {
	const rule = "take text of 1 to 255 bytes that is not a number"
	var wrong string
	switch {
	case name == "":
		wrong = "it is empty"
	case len(name) > maxSnapshotName:
		wrong = fmt.Sprintf("it has %d bytes, and %d are possible", len(name), maxSnapshotName)
	case !utf8.ValidString(name):
		wrong = "it is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		wrong = "it has control characters"
	case strings.Trim(name, "0123456789") == "":
		wrong = "it has nothing but digits, which QEMU would take for the number of another snapshot"
	default:
		return nil
	}
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "snapshot name", Msg: wrong, Hint: rule}
}
