package storage

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/maqet/maqet/internal/imagelock"
)

// chunk is how much is copied, or read, before somebody is asked whether to go on.
const chunk = 4 << 20

// source is a file that is read without QEMU. While it is open no QEMU program can write to it.
type source struct {
	*os.File
	hold    *imagelock.Hold
	size    int64
	changed time.Time // when it was opened
}

func openSource(path string) (*source, error) {
	hold, err := reading(path)
	if err != nil {
		return nil, err
	}
	s := &source{hold: hold}
	if s.File, err = os.Open(path); err != nil {
		hold.Release()
		return nil, err
	}
	info, err := s.Stat()
	if err == nil {
		s.changed = info.ModTime()
		s.size, err = s.Seek(0, io.SeekEnd) // also of a block device
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	_ = s.Close() // it was only read
	s.hold.Release()
}

// same fails if the file was written since it was opened, by a program that knows no locks.
func (s *source) same() error {
	info, err := s.Stat()
	if err != nil {
		return err
	}
	if !info.ModTime().Equal(s.changed) || info.Mode().IsRegular() && info.Size() != s.size {
		return fmt.Errorf("%s was changed while it was read", quote(s.Name()))
	}
	return nil
}

// copyTo makes to, which is empty, a copy of s: one that shares its blocks where the file
// system can do that, else one that has holes where s has them.
func (s *source) copyTo(ctx context.Context, to *os.File, share func(to, from *os.File) error, progress meter) error {
	if share(to, s.File) == nil {
		progress.at(s.size)
		return s.same()
	}
	if err := to.Truncate(s.size); err != nil {
		return err
	}
	for at := int64(0); at < s.size; {
		start, end, err := nextData(s.File, at, s.size)
		if err != nil {
			return err
		}
		for at = start; at < end; at += chunk {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(chunk, end-at)
			if err := s.copyChunk(to, at, n); err != nil {
				return err
			}
			progress.at(at + n)
		}
		at = end
	}
	progress.at(s.size)
	return s.same()
}

// copyChunk copies within the kernel, where that can be done (copy_file_range(2)).
func (s *source) copyChunk(to *os.File, at, n int64) error {
	if _, err := s.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(to, s.File, n)
	return err
}
