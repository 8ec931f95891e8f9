package storage

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	"github.com/maqet/maqet/errors"
)

// SumError is a file that does not have the sum that it should have. Its kind is
// errors.ErrStorage.
type SumError struct {
	Path      string
	Algorithm string // "sha256" or "sha512"
	Want, Got string // in hexadecimal digits
}

// Error names the file and both sums.
func (e *SumError) Error() string {
	return fmt.Sprintf("%s of %q is %s, and should be %s (get the file again, or correct the sum)", e.Algorithm, e.Path, e.Got, e.Want)
}

// Unwrap returns errors.ErrStorage.
func (e *SumError) Unwrap() error { return errors.ErrStorage }

// sums are the sums that a file must have, by algorithm.
type sums map[string]string

func parseSums(sum256, sum512 string) (sums, error) {
	want := sums{}
	for _, s := range []struct {
		name, sum string
		size      int
	}{{"sha256", sum256, sha256.Size}, {"sha512", sum512, sha512.Size}} {
		if s.sum == "" {
			continue
		}
		if raw, err := hex.DecodeString(s.sum); err != nil || len(raw) != s.size {
			return nil, fmt.Errorf("%s %q is not %d hexadecimal digits", s.name, s.sum, 2*s.size)
		}
		want[s.name] = strings.ToLower(s.sum)
	}
	return want, nil
}

// verifier returns what verifies the sums of a file, nil if there are none. path is what errors
// call it.
func (want sums) verifier(ctx context.Context, path string) func(*os.File, meter) error {
	if len(want) == 0 {
		return nil
	}
	return func(f *os.File, progress meter) error {
		known := map[string]hash.Hash{"sha256": sha256.New(), "sha512": sha512.New()}
		var to []io.Writer
		for name := range want {
			to = append(to, known[name])
		}
		if err := readAll(ctx, f, io.MultiWriter(to...), progress); err != nil {
			return err
		}
		for name, sum := range want {
			if got := hex.EncodeToString(known[name].Sum(nil)); got != sum {
				return &SumError{Path: path, Algorithm: name, Want: sum, Got: got}
			}
		}
		return nil
	}
}

// readAll writes all of a file to a writer, from its beginning.
func readAll(ctx context.Context, f *os.File, to io.Writer, progress meter) error {
	buffer := make([]byte, 1<<20)
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(buffer, at)
		if _, err := to.Write(buffer[:n]); err != nil {
			return err
		}
		at += int64(n)
		progress.at(at)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
