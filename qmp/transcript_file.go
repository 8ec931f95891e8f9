package qmp

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/maqet/maqet/errors"
)

// transcriptHeader is the first line of every file of a transcript, by which a file of
// ours is known again.
const transcriptHeader = "# maqet QMP transcript\n"

// rotatingFile is a file of lines that is put away as PATH.1 when it is full; PATH.1
// becomes PATH.2 then, and so on. It touches no file that is not a transcript.
type rotatingFile struct {
	path  string
	limit int64
	keep  int

	f    *os.File
	size int64
}

func (r *rotatingFile) open() error {
	if err := ours(r.path); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|noFollow, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.f, r.size = f, info.Size()
	if r.size == 0 {
		return r.add([]byte(transcriptHeader))
	}
	return nil
}

// ours returns nil if the file is a transcript, is empty or does not exist.
func ours(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, len(transcriptHeader))
	n, err := io.ReadFull(f, head)
	if !info.Mode().IsRegular() || n > 0 && !bytes.Equal(head[:n], []byte(transcriptHeader)) {
		return fmt.Errorf("%s exists and is not a transcript: choose another file", path)
	}
	if n > 0 && err != nil {
		return err
	}
	return nil
}

func (r *rotatingFile) write(line []byte) error {
	if r.f == nil {
		return os.ErrClosed
	}
	if r.size > int64(len(transcriptHeader)) && r.size+int64(len(line)) > r.limit {
		if err := r.rotate(); err != nil {
			return err
		}
	}
	return r.add(line)
}

func (r *rotatingFile) add(data []byte) error {
	n, err := r.f.Write(data)
	r.size += int64(n)
	return err
}

func (r *rotatingFile) rotate() error {
	if err := r.close(); err != nil {
		return err
	}
	name := func(n int) string {
		if n == 0 {
			return r.path
		}
		return fmt.Sprintf("%s.%d", r.path, n)
	}
	for n := r.keep; n >= 1; n-- {
		if err := ours(name(n)); err != nil {
			return err
		}
		if err := os.Rename(name(n-1), name(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if r.keep == 0 {
		if err := os.Remove(r.path); err != nil {
			return err
		}
	}
	return r.open()
}

func (r *rotatingFile) close() error {
	f := r.f
	r.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}
