package guestview

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// Readable looks at a file that QEMU will open. A name without a slash is one in QEMU's
// data folder, which QEMU knows.
func Readable(path string) error {
	if !strings.ContainsRune(path, '/') {
		return nil
	}
	return RegularFile(path)
}

// RegularFile reports why QEMU could not read a file.
func RegularFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		err = unix.Access(path, unix.R_OK)
	}
	return err
}

// maxPasswordFile bounds what is read of a file for its first line.
const maxPasswordFile = 4096

// DisplayPassword returns the password of a display, empty if none is asked for. With a problem
// there is none.
func DisplayPassword(d vm.Display) (string, *errors.Problem) {
	if d.PasswordFile == "" {
		return "", nil
	}
	bad := &errors.Problem{Field: "display.password_file", Value: d.PasswordFile}
	password, err := firstLine(d.PasswordFile)
	if err != nil {
		bad.Message, bad.Fix = "can't be read: "+err.Error(), "give the path of a file with the password in its first line"
		return "", bad
	}
	if refused := qmp.CheckDisplayPassword(d.Type, password); refused != nil {
		bad.Message, bad.Fix = "holds no password: its first line "+refused.Problems[0].Message, refused.Problems[0].Fix
		return "", bad
	}
	return password, nil
}

func firstLine(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		err = Readable(path)
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile))
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), errors.Join(err, f.Close())
}

// VhostVsock is the host's side of vsock.
const VhostVsock = "/dev/vhost-vsock"

// CheckVsock says why the host can't serve vsock, nil if it can.
func CheckVsock() error { return unix.Access(VhostVsock, unix.R_OK|unix.W_OK) }
