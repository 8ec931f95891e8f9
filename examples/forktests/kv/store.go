package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

var (
	errDamaged = errors.New("the value is damaged on the disk")
	errInUse   = errors.New("another process has the store")
)

// store keeps each value in a file of its own: a digest of all that follows, the time when the
// value expires, the value. A value that put has returned from is on the disk.
type store struct {
	dir  string
	lock *os.File
}

// headSize is what stands before the value: the digest, and the time in seconds, 0 for never.
const headSize = sha256.Size + 8

func openStore(dir string) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "values"), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(errInUse, lock.Close())
	}
	return &store{dir: dir, lock: lock}, nil
}

func (s *store) close() error { return s.lock.Close() }

// path returns the file of a key. A key may hold any bytes, so that it is encoded.
func (s *store) path(key string) string {
	return filepath.Join(s.dir, "values", base64.RawURLEncoding.EncodeToString([]byte(key)))
}

// put replaces the value of a key, whole or not at all.
func (s *store) put(key string, value []byte, expires time.Time) error {
	f, err := os.CreateTemp(s.dir, "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(encode(value, expires))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(key))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return s.syncFolder()
}

// syncFolder makes sure that the names of the files are on the disk, too.
func (s *store) syncFolder() error {
	d, err := os.Open(filepath.Join(s.dir, "values"))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// get returns fs.ErrNotExist for a key that has no value, or none any more.
func (s *store) get(key string) ([]byte, error) {
	data, err := os.ReadFile(s.path(key))
	if err != nil {
		return nil, err
	}
	value, expires, err := decode(data)
	if err == nil && !expires.IsZero() && time.Now().After(expires) {
		return nil, fs.ErrNotExist
	}
	return value, err
}

func (s *store) remove(key string) error {
	if err := os.Remove(s.path(key)); err != nil {
		return err
	}
	return s.syncFolder()
}

// keys returns the keys that begin with prefix, in order.
func (s *store) keys(prefix string) (keys []string, err error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "values"))
	for _, f := range files {
		key, err := base64.RawURLEncoding.DecodeString(f.Name())
		if err == nil && strings.HasPrefix(string(key), prefix) {
			keys = append(keys, string(key))
		}
	}
	slices.Sort(keys)
	return keys, err
}

func encode(value []byte, expires time.Time) []byte {
	var seconds uint64
	if !expires.IsZero() {
		seconds = uint64(expires.Unix())
	}
	rest := append(binary.BigEndian.AppendUint64(nil, seconds), value...)
	digest := sha256.Sum256(rest)
	return append(digest[:], rest...)
}

func decode(data []byte) (value []byte, expires time.Time, err error) {
	if len(data) < headSize {
		return nil, expires, fmt.Errorf("%w: %d bytes", errDamaged, len(data))
	}
	if digest := sha256.Sum256(data[sha256.Size:]); !bytes.Equal(digest[:], data[:sha256.Size]) {
		return nil, expires, errDamaged
	}
	if seconds := binary.BigEndian.Uint64(data[sha256.Size:]); seconds != 0 {
		expires = time.Unix(int64(seconds), 0)
	}
	return data[headSize:], expires, nil
}
