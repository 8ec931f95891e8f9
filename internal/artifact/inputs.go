//go:build linux

package artifact

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Inputs collects the files that a result is made from. It is not safe for
// concurrent use.
type Inputs struct {
	start time.Time
	list  []fingerprint
}

// Add notes the file or folder at path, symbolic links followed, before it is read. A
// missing one is noted as missing: the result is made again when it appears.
func (in *Inputs) Add(path string) error {
	fp, err := take(path)
	if err != nil {
		return err
	}
	in.list = append(in.list, fp)
	return nil
}

// settleTime is longer than the steps in which file systems count time. A file that
// changed this recently may change again with its fingerprint unchanged.
const settleTime = 50 * time.Millisecond

// settled reports whether the fingerprints can be relied on.
func (in *Inputs) settled() bool {
	limit := in.start.Add(-settleTime).UnixNano()
	for _, fp := range in.list {
		if fp.Changed > limit {
			return false
		}
	}
	return true
}

// fingerprint tells a file from a changed one. The change time can't be set by a
// program, so a file that was replaced and given its old size and date differs.
type fingerprint struct {
	Path     string `json:"path"`
	Missing  bool   `json:"missing,omitempty"`
	Dev      uint64 `json:"dev"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // ns since 1970
	Changed  int64  `json:"changed"`  // ns since 1970
}

func take(path string) (fingerprint, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fingerprint{Path: path, Missing: true}, nil
	}
	if err != nil {
		return fingerprint{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fingerprint{
		Path: path, Dev: st.Dev, Inode: st.Ino, Size: st.Size,
		Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano(),
	}, nil
}
