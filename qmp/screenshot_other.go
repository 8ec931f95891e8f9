//go:build !linux

package qmp

import (
	"errors"
	"os"
)

const canPassMemory = false

func memoryFile() (read, write *os.File, err error) { return nil, nil, errors.ErrUnsupported }
