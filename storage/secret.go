package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// Secret opens an encrypted image. Give one of its fields. It is never printed, logged, or
// written into a database, and no program gets it as an argument.
type Secret struct {
	// File is a file that holds the secret: all of its bytes, with the line end if there is one.
	// Nobody but its owner may be allowed to read or write it.
	File string
	// Value is the secret itself.
	Value []byte `json:"-"`
}

// maxSecret is the most that is taken of a file for a secret: what is longer is a mistake.
const maxSecret = 64 << 10

// SecretError is a secret that can't be used. Its kind is errors.ErrStorage.
type SecretError struct {
	File string // empty: it was given as a value
	Msg  string // what is wrong with it
	Fix  string // what to do
	Err  error  // the cause; may be nil
}

// Error says what is wrong, and what to do. It says nothing of the secret.
func (e *SecretError) Error() string {
	what := "the secret"
	if e.File != "" {
		what += " in " + quote(e.File)
	}
	return fmt.Sprintf("%s %s (%s)", what, e.Msg, e.Fix)
}

// Unwrap returns the kind and the cause.
func (e *SecretError) Unwrap() []error {
	if e.Err == nil {
		return []error{errors.ErrStorage}
	}
	return []error{errors.ErrStorage, e.Err}
}

// Format prints the secret's file, if it has one, and nothing else, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.shown()) }

// LogValue is what is logged: the secret's file, if it has one.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

func (s Secret) shown() string {
	switch {
	case s.File != "":
		return "secret in " + quote(s.File)
	case len(s.Value) > 0:
		return "secret"
	}
	return "no secret"
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.File == "" && len(s.Value) == 0 }

// Check fails with a [*SecretError] unless the secret is one that QEMU can use: valid UTF-8
// without zero bytes (QEMU, crypto/secret_common.c, qcrypto_secret_lookup_as_utf8), at most
// 64 KiB; in a file that others can neither read nor write. It reads the file.
func (s Secret) Check() error {
	if s.File != "" && len(s.Value) > 0 {
		return &SecretError{File: s.File, Msg: "is given as a file and as a value", Fix: "give one of them"}
	}
	if s.File == "" {
		return checkSecret("", s.Value)
	}
	value, err := readSecret(s.File)
	if err != nil {
		return err
	}
	defer clear(value)
	return checkSecret(s.File, value)
}

// Read returns the secret, checked as by Check, for who gives it to the program that opens the
// image. It is the caller's: clear it after use.
func (s Secret) Read() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.File == "" {
		return bytes.Clone(s.Value), nil
	}
	return readSecret(s.File)
}

func checkSecret(file string, value []byte) error {
	e := &SecretError{File: file}
	switch {
	case len(value) == 0:
		e.Msg, e.Fix = "is empty", "give the passphrase of the image"
	case len(value) > maxSecret:
		e.Msg, e.Fix = fmt.Sprintf("has more than %d bytes", maxSecret), "give the passphrase of the image"
	case !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0:
		e.Msg, e.Fix = "is no text, and QEMU takes nothing else", "encode it, for example with base64"
	default:
		return nil
	}
	return e
}

// readSecret reads a file that is its owner's alone.
func readSecret(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which a FIFO can't hang
	if err != nil {
		return nil, &SecretError{File: path, Msg: "can't be read: " + plainCause(err).Error(), Fix: "give the path of a file that this user can read", Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, &SecretError{File: path, Msg: "can't be read: " + plainCause(err).Error(), Fix: "give the path of a file that this user can read", Err: err}
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, &SecretError{File: path, Msg: "is not in a regular file", Fix: "give the path of a file"}
	case mode.Perm()&0o077 != 0:
		return nil, &SecretError{File: path, Msg: fmt.Sprintf("is open to others: the file has the mode %#o", mode.Perm()), Fix: "chmod 600 it, and change the secret if others may have read it"}
	}
	value, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, &SecretError{File: path, Msg: "can't be read: " + plainCause(err).Error(), Fix: "give the path of a file that this user can read", Err: err}
	}
	return value, nil
}

// FileRunner is a Runner that can hand open files on. One that is none can't work with a
// Secret.Value.
type FileRunner interface {
	Runner
	// RunWith is Run; qemu-img inherits the files as descriptors 3, 4 and so on.
	RunWith(ctx context.Context, files []*os.File, args ...string) ([]byte, error)
}

// keyID is the ID of the secret among qemu-img's objects.
const keyID = "key"

// runKeyed runs qemu-img with a secret as the object keyID (QEMU manual, "Providing secret
// data"); the zero Secret: with none. A value is handed over in memory that only qemu-img
// inherits. args[0] is the subcommand.
func (m *Manager) runKeyed(ctx context.Context, s Secret, args ...string) ([]byte, error) {
	with := func(file string) []string {
		object := "secret,id=" + keyID + ",format=raw,file=" + strings.ReplaceAll(file, ",", ",,")
		return append([]string{args[0], "--object", object}, args[1:]...)
	}
	switch {
	case s.IsZero():
		return m.runner.Run(ctx, args...)
	case s.File != "":
		file, err := filepath.Abs(s.File)
		if err != nil {
			return nil, err
		}
		return m.runner.Run(ctx, with(file)...)
	}
	runner, ok := m.runner.(FileRunner)
	if !ok {
		return nil, &SecretError{Msg: "can't be handed over: Options.Runner is no FileRunner", Fix: "give it RunWith, or give the secret as a file"}
	}
	memory, err := memoryFile(s.Value)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	return runner.RunWith(ctx, []*os.File{memory}, with("/proc/self/fd/3")...)
}

// memoryFile returns a file that is nowhere but in memory.
func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "secret")
	if _, err := f.Write(data); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
