package qapi

import (
	"context"
	"encoding/json"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// GetFD gives QEMU an open file under a name, for commands that take the name of a file
// descriptor. QEMU gets a duplicate; f stays the caller's. A name that is taken changes
// hands: the file that had it is closed.
func GetFD(ctx context.Context, c qmp.FileExecutor, name string, f *os.File) error {
	_, err := c.ExecuteWithFiles(ctx, "getfd", struct {
		Fdname string `json:"fdname"`
	}{name}, f)
	return err
}

// CloseFD closes a file that [GetFD] has given to QEMU and no command has taken.
func CloseFD(ctx context.Context, e qmp.Executor, fdname string) error {
	return run(ctx, e, "closefd", struct {
		Fdname string `json:"fdname"`
	}{fdname})
}

// AddFD gives QEMU an open file as part of an fd set, which stands for a file name
// /dev/fdset/N. QEMU gets a duplicate; f stays the caller's.
func AddFD(ctx context.Context, c qmp.FileExecutor, args AddFDArgs, f *os.File) (AddfdInfo, error) {
	var info AddfdInfo
	answer, err := c.ExecuteWithFiles(ctx, "add-fd", args, f)
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(answer, &info); err != nil {
		return info, errors.Wrap(errors.ErrQMP, "QMP add-fd: decode the answer", "", err)
	}
	return info, nil
}

// RemoveFD removes a file from an fd set, or all files when fd is nil. The set is gone
// with the last, once nothing uses it any more.
func RemoveFD(ctx context.Context, e qmp.Executor, fdsetID int64, fd *int64) error {
	return run(ctx, e, "remove-fd", struct {
		FdsetID int64  `json:"fdset-id"`
		FD      *int64 `json:"fd,omitempty"`
	}{fdsetID, fd})
}

// QueryFdsets lists the fd sets.
func QueryFdsets(ctx context.Context, e qmp.Executor) ([]FdsetInfo, error) {
	return qmp.Do[[]FdsetInfo](ctx, e, "query-fdsets", nil)
}

// AddFDArgs are the arguments of add-fd.
type AddFDArgs struct {
	FdsetID *int64 `json:"fdset-id,omitempty"` // nil: a new set
	Opaque  string `json:"opaque,omitempty"`   // a note, which QueryFdsets returns
}

// AddfdInfo is the answer to add-fd.
type AddfdInfo struct {
	FdsetID int64 `json:"fdset-id"`
	FD      int64 `json:"fd"` // in QEMU
}

// FdsetInfo is an fd set.
type FdsetInfo struct {
	FdsetID int64         `json:"fdset-id"`
	FDs     []FdsetFdInfo `json:"fds"`
}

// FdsetFdInfo is a file of an fd set.
type FdsetFdInfo struct {
	FD     int64  `json:"fd"` // in QEMU
	Opaque string `json:"opaque,omitempty"`
}
