package storage

import (
	"context"
	"os"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// checkRaw refuses what raw images don't have.
func checkRaw(o Qcow2Options, e *Encryption) error {
	switch {
	case o.Preallocation == PreallocationMetadata:
		return errors.New(`preallocation "metadata" is nothing for raw images, which have none: use falloc, full or off`)
	case o.ClusterSize != 0 || o.LazyRefcounts || o.Compression != "":
		return errors.New("raw images have no cluster size, lazy refcounts or compression: use qcow2, or leave them out")
	case e != nil:
		return errors.New("raw images are not encrypted: use qcow2")
	}
	return nil
}

// fillRaw gives an empty file its size, and its blocks if they are asked for.
func (m *Manager) fillRaw(ctx context.Context, file *os.File, s CreateSpec) error {
	if s.Options.direct() {
		return file.Truncate(s.Size)
	}
	args := append([]string{"create", "-q", "-f", FormatRaw}, s.Options.args()...)
	_, err := m.runner.Run(ctx, append(args, "--", file.Name(), strconv.FormatInt(s.Size, 10))...)
	return err
}

// fillQcow2 makes a qcow2 image of an empty file: here, or by qemu-img where there is much to
// write, or something to encrypt. The base is checked already, and qemu-img need not open it
// (-u), for which it would want the keys of all that are encrypted.
func (m *Manager) fillQcow2(ctx context.Context, file *os.File, b blank, e *Encryption) error {
	if e == nil && b.options.direct() {
		return b.write(file)
	}
	args := append([]string{"create", "-q", "-f", FormatQcow2}, b.options.args()...)
	if b.backing != "" {
		args = append(args, "-u", "-F", b.format, "-b", b.backing)
	}
	var key Secret
	if e != nil {
		args = append(args, e.args()...)
		key = e.Secret
	}
	_, err := m.runKeyed(ctx, key, append(args, "--", file.Name(), strconv.FormatInt(b.size, 10))...)
	return err
}
