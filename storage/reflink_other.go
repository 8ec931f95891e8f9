//go:build !linux

package storage

import (
	"errors"
	"os"
)

func reflink(_, _ *os.File) error { return errors.ErrUnsupported }

// nextData takes all for data here.
func nextData(_ *os.File, from, size int64) (start, end int64, err error) { return from, size, nil }
