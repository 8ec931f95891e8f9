package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// The seed is named by what cloud-init looks for (cloud-init documentation, "NoCloud").
const (
	seedFile  = "seed.iso"
	seedLabel = "cidata"
)

// maxSeedFile bounds what is read into a seed, in bytes: all of it is held in memory, and
// what is meant is configuration.
const maxSeedFile = 16 << 20

// userDataMarks are the beginnings by which cloud-init tells what a user-data is
// (cloud-init documentation, "User-data formats"); the last one is gzip's.
var userDataMarks = []string{
	"#!", "#cloud-config", "#include", "#cloud-boothook", "#part-handler", "## template:", "#upstart-job",
	"Content-Type:", "MIME-Version:", "\x1f\x8b",
}

// seed makes the image for cloud-init, and returns its path; empty when there is none to
// make. It is made anew at each start, from files that may have changed; one that a crash
// left is replaced.
func (k *imageKeeper) seed(ctx context.Context, inst Instance) (string, error) {
	c := inst.Config.CloudInit
	if c == nil {
		return "", nil
	}
	files, err := seedFiles(inst)
	if err != nil {
		return "", err
	}
	if err := k.unseed(ctx, inst); err != nil {
		return "", err
	}
	path, err := k.place.ImagePath(ctx, inst.ID, seedFile)
	if err != nil {
		return "", err
	}
	img, err := k.images.ISO(ctx, storage.ISOSpec{Path: path, Label: seedLabel, Files: files, For: storage.For{Owner: inst.ID}})
	return img.Path, err
}

// unseed removes the image for cloud-init, which may have secrets, if there is one. What
// somebody else has put there stays.
func (k *imageKeeper) unseed(ctx context.Context, inst Instance) error {
	if k.host != nil && inst.Config.CloudInit == nil && inst.Runtime.Seed == "" {
		return nil // its host need not be asked
	}
	path, err := k.place.ImagePath(ctx, inst.ID, seedFile)
	if err == nil {
		err = k.images.Delete(ctx, path)
	}
	if errors.Is(err, storage.ErrUnregistered) {
		return nil
	}
	return err
}

// seedFiles returns what the image holds. Files that can't be used are listed together.
func seedFiles(inst Instance) (map[string][]byte, error) {
	c, r := inst.Config.CloudInit, &fileReader{}
	files := map[string][]byte{}
	var err error
	if c.UserData != "" {
		files["user-data"] = r.userData(c.UserData)
	} else {
		files["user-data"], err = c.userData(
			func(i int) string { return r.passwordHash(i, c.Users[i]) },
			func(i int) []byte { return r.source(i, c.Files[i]) })
	}
	if err == nil && c.MetaData != "" {
		files["meta-data"] = r.read("cloud_init.meta_data", c.MetaData)
	} else if err == nil {
		files["meta-data"], err = c.metaData(inst.ID, inst.Name)
	}
	if c.NetworkConfig != "" {
		files["network-config"] = r.read("cloud_init.network_config", c.NetworkConfig)
	}
	if len(r.problems) > 0 {
		return nil, &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: inst.Name, Problems: r.problems}
	}
	return files, err
}

// fileReader reads files of the host, and collects what is wrong with them. What they
// have is never part of a message: it may be a secret.
type fileReader struct{ problems []errors.Problem }

func (r *fileReader) add(field, path, message, fix string) {
	r.problems = append(r.problems, errors.Problem{Field: field, Value: path, Message: message, Fix: fix})
}

func (r *fileReader) read(field, path string) []byte {
	data, err := readSmall(path)
	if err != nil {
		r.add(field, path, err.Error(), "give the path of a readable file")
	}
	return data
}

func (r *fileReader) userData(path string) []byte {
	const field = "cloud_init.user_data"
	before := len(r.problems)
	data := r.read(field, path)
	begins := func(mark string) bool { return bytes.HasPrefix(data, []byte(mark)) }
	if len(r.problems) == before && !slices.ContainsFunc(userDataMarks, begins) {
		r.add(field, path, "does not begin as cloud-init wants it, which would ignore it", `let its first line be "#cloud-config", or "#!" and an interpreter`)
	}
	return data
}

func (r *fileReader) passwordHash(i int, u CloudUser) string {
	if u.PasswordHashFile == "" {
		return ""
	}
	field := fmt.Sprintf("cloud_init.users[%d].password_hash_file", i)
	before := len(r.problems)
	line, _, _ := strings.Cut(string(r.read(field, u.PasswordHashFile)), "\n")
	line = strings.TrimSpace(line)
	// crypt(5): every hash of today begins with its method between dollar signs.
	if len(r.problems) == before && (!strings.HasPrefix(line, "$") || strings.ContainsFunc(line, func(c rune) bool { return c <= ' ' || c == ':' || c > '~' })) {
		r.add(field, u.PasswordHashFile, "has no password hash in its first line", "make one with: openssl passwd -6")
	}
	return line
}

func (r *fileReader) source(i int, f CloudFile) []byte {
	if f.Source == "" {
		return []byte(f.Text)
	}
	return r.read(fmt.Sprintf("cloud_init.files[%d].source", i), f.Source)
}

// readSmall reads a regular file of at most maxSeedFile bytes. O_NONBLOCK keeps a FIFO
// from holding the start up.
func readSmall(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, reason(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSeedFile+1))
	if err == nil && len(data) > maxSeedFile {
		err = errors.New("is larger than 16 MiB")
	}
	return data, reason(err)
}

// reason leaves out the path, which stands beside it in messages.
func reason(err error) error {
	var failed *os.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
