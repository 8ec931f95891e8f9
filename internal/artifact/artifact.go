//go:build linux

// Package artifact keeps files that are made once and used by many processes: an
// extracted kernel, an initial RAM disk, a compiled program.
//
// A file's name is the SHA-256 of its content, so that a name never changes its
// meaning. What a request led to last time is noted beside it, with a fingerprint
// (device, inode, size, times) of every file that was read: while those are
// unchanged a request costs one small file and a stat for each input, and nothing is
// hashed.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/maqet/maqet/internal/flock"
)

// keepUnused is how long a file that nobody asks for is kept. Asking for it starts
// the time again.
const keepUnused = 30 * 24 * time.Hour

// touchEvery bounds how often a hit notes that the file is in use.
const touchEvery = 24 * time.Hour

// Cache is a folder of artifacts. Its methods are safe for concurrent use, also by
// several processes.
type Cache struct {
	Dir string // made with mode 0700 when missing
}

// Recipe says what is wanted and how it is made.
type Recipe struct {
	// Key names the request: everything that decides the result besides the content
	// of the inputs.
	Key string
	// Suffix ends the file's name: ".cpio".
	Suffix string
	// Mode of the file. Empty: 0600.
	Mode os.FileMode
	// Make writes the content to w. It notes each file in inputs before reading it.
	Make func(ctx context.Context, w io.Writer, inputs *Inputs) error
}

// note is what is remembered of a request.
type note struct {
	File   string        `json:"file"`
	Size   int64         `json:"size"`
	Inputs []fingerprint `json:"inputs"`
}

// File returns the path of what r makes, and makes it if it is not there or if one of
// its inputs changed. Parallel callers make it once. When it fails nothing is kept.
func (c Cache) File(ctx context.Context, r Recipe) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if path, ok := c.lookup(r); ok {
		return path, nil
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return "", err
	}
	lock, err := flock.Wait(ctx, filepath.Join(c.Dir, "lock"))
	if err != nil {
		return "", err
	}
	// Closing the lock's file releases it, whatever else fails.
	defer func() { _ = lock.Unlock() }()
	if path, ok := c.lookup(r); ok {
		return path, nil
	}
	c.prune(time.Now())
	return c.create(ctx, r)
}

// lookup finds what the request led to, if that still holds.
func (c Cache) lookup(r Recipe) (string, bool) {
	text, err := os.ReadFile(c.notePath(r))
	if err != nil {
		return "", false
	}
	var n note
	if json.Unmarshal(text, &n) != nil || n.File != filepath.Base(n.File) {
		return "", false
	}
	path := filepath.Join(c.Dir, n.File)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != n.Size {
		return "", false
	}
	for _, in := range n.Inputs {
		if now, err := take(in.Path); err != nil || now != in {
			return "", false
		}
	}
	if now := time.Now(); now.Sub(info.ModTime()) > touchEvery {
		// Best effort: without it the file is made again after keepUnused.
		_ = os.Chtimes(path, now, now)
		_ = os.Chtimes(c.notePath(r), now, now)
	}
	return path, true
}

// create makes the file under a temporary name and gives it its real one when it is
// whole. The caller holds the lock.
func (c Cache) create(ctx context.Context, r Recipe) (path string, err error) {
	tmp, err := os.CreateTemp(c.Dir, tempPrefix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
		}
	}()
	out := &output{ctx: ctx, file: tmp, hash: sha256.New()}
	inputs := &Inputs{start: time.Now()}
	err = r.Make(ctx, out, inputs)
	if err == nil && r.Mode != 0 {
		err = tmp.Chmod(r.Mode)
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", err
	}
	name := hex.EncodeToString(out.hash.Sum(nil)) + r.Suffix
	path = filepath.Join(c.Dir, name)
	if err = os.Rename(tmp.Name(), path); err != nil {
		return "", err
	}
	if inputs.settled() {
		return path, c.remember(r, note{File: name, Size: out.size, Inputs: inputs.list})
	}
	return path, nil
}

// remember writes the note of a request.
func (c Cache) remember(r Recipe, n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(c.Dir, tempPrefix)
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), c.notePath(r))
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
	}
	return nil
}

func (c Cache) notePath(r Recipe) string {
	sum := sha256.Sum256([]byte(r.Key + "\x00" + r.Suffix))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:])+".json")
}

const tempPrefix = "tmp-"

// prune removes what an interrupted process left and what nobody used for long. The
// caller holds the lock, so no temporary file is in use. It is best effort.
func (c Cache) prune(now time.Time) {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || e.Name() == "lock" {
			continue
		}
		if strings.HasPrefix(e.Name(), tempPrefix) || now.Sub(info.ModTime()) > keepUnused {
			_ = os.Remove(filepath.Join(c.Dir, e.Name()))
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// output hashes what it writes and stops when the context ends.
type output struct {
	ctx  context.Context
	file *os.File
	hash hash.Hash
	size int64
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	o.hash.Write(p)
	n, err := o.file.Write(p)
	o.size += int64(n)
	return n, err
}
