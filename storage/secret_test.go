package storage_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

const passphrase = "correct horse, battery=staple"

func TestSecretCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) storage.Secret {
		path := writeFile(t, filepath.Join(dir, name), content)
		require.NoError(t, os.Chmod(path, mode))
		return storage.Secret{File: path}
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for name, c := range map[string]struct {
		secret storage.Secret
		says   string // empty: it is fine
	}{
		"value":        {storage.Secret{Value: []byte(passphrase)}, ""},
		"file":         {file("good", passphrase+"\n", 0o600), ""},
		"read-only":    {file("ro", passphrase, 0o400), ""},
		"both":         {storage.Secret{File: "/x", Value: []byte(passphrase)}, "as a file and as a value"},
		"none":         {storage.Secret{}, "is empty"},
		"empty":        {file("empty", "", 0o600), "is empty"},
		"missing":      {storage.Secret{File: filepath.Join(dir, "missing")}, "no such file"},
		"folder":       {storage.Secret{File: dir}, "not in a regular file"},
		"FIFO":         {storage.Secret{File: filepath.Join(dir, "fifo")}, "not in a regular file"},
		"group":        {file("group", passphrase, 0o640), "mode 0640"},
		"others":       {file("others", passphrase, 0o602), "chmod 600"},
		"no text":      {file("bytes", "\xff\xfe", 0o600), "is no text"},
		"zero byte":    {storage.Secret{Value: []byte("a\x00b")}, "is no text"},
		"a whole disk": {file("large", strings.Repeat("x", 64<<10+1), 0o600), "more than 65536 bytes"},
	} {
		err := c.secret.Check()
		if c.says == "" {
			require.NoError(t, err, name)
			continue
		}
		var bad *storage.SecretError
		require.ErrorAs(t, err, &bad, name)
		require.ErrorIs(t, err, errors.ErrStorage, name)
		require.ErrorContains(t, err, c.says, name)
		require.NotContains(t, err.Error(), passphrase)
		require.NotEmpty(t, bad.Fix, name)
	}
}

// TestSecretIsNotShown: whatever a secret is part of can be printed, logged and recorded.
func TestSecretIsNotShown(t *testing.T) {
	spec := storage.CreateSpec{Path: "/disk", Encryption: &storage.Encryption{Secret: storage.Secret{Value: []byte(passphrase)}}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", spec)
		fmt.Fprintf(&out, verb+"\n", *spec.Encryption)
		fmt.Fprintf(&out, verb+"\n", spec.Encryption.Secret)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("made", "spec", spec, "encryption", spec.Encryption, "secret", spec.Encryption.Secret)
	}
	data, err := json.Marshal(spec)
	require.NoError(t, err)
	out.Write(data)
	for _, form := range []string{passphrase, fmt.Sprintf("%x", passphrase), fmt.Sprint([]byte(passphrase)), "Y29ycmVjdC"} {
		require.NotContains(t, out.String(), form)
	}
	require.Equal(t, `secret in "/key"`, fmt.Sprint(storage.Secret{File: "/key"}))
	require.Equal(t, "no secret", fmt.Sprint(storage.Secret{}))
}

// recorded makes qemu-img write its arguments into a file before it runs.
func recorded(t *testing.T) (log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "log")
	fakeProgram(t, `printf '%s\n' "$@" >>'`+log+"'\nexec qemu-img \"$@\"\n")
	return log
}

// TestEncrypted: an image is opened by its secret, in a file or in memory, and by nothing
// else; what is written to it is nowhere in its file.
func TestEncrypted(t *testing.T) {
	m, root := manage(t)
	log := recorded(t)
	key := storage.Secret{File: writeFile(t, filepath.Join(t.TempDir(), "k,e=y"), passphrase)}
	quick := func(s storage.Secret) *storage.Encryption {
		return &storage.Encryption{Secret: s, Unlock: time.Millisecond}
	}
	base, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "base"), Size: 8 * mib,
		Options: storage.Qcow2Options{ClusterSize: 4096}, Encryption: quick(storage.Secret{Value: []byte(passphrase)})})
	require.NoError(t, err)
	require.True(t, base.Encrypted)
	got, err := m.Inspect(t.Context(), base.Path, storage.FormatQcow2)
	require.NoError(t, err)
	require.Equal(t, base, got)

	over := storage.OverlaySpec{Path: filepath.Join(root, "top"), Base: base.Path, BaseFormat: storage.FormatQcow2}
	_, err = m.Overlay(t.Context(), over)
	require.ErrorContains(t, err, "its base is encrypted")
	require.NoFileExists(t, over.Path)
	over.Encryption = quick(key)
	top, err := m.Overlay(t.Context(), over)
	require.NoError(t, err)

	bad := unusable(t, m, top.Path, storage.FormatQcow2, true)
	require.ErrorContains(t, bad, "is encrypted, and QEMU is given no key")
	layers, err := m.Usable(t.Context(), top.Path, storage.FormatQcow2, true, key)
	require.NoError(t, err)
	require.Equal(t, []storage.Image{top, base}, layers)

	said, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NotContains(t, string(said), passphrase, "not in what any process can read")
	require.Contains(t, string(said), "file=/proc/self/fd/3\n")

	node := func(path, more string) string {
		return "driver=qcow2,encrypt.format=luks,encrypt.key-secret=k,file.driver=file,file.filename=" + path + more
	}
	out := qemuIO(t, "--object", "secret,id=k,data="+strings.ReplaceAll(passphrase, ",", ",,"), "--image-opts", node(top.Path, ",backing.driver=qcow2,backing.encrypt.format=luks,"+
		"backing.encrypt.key-secret=k,backing.file.driver=file,backing.file.filename="+base.Path),
		"-c", "write -P 0x6d 1M 1M", "-c", "read -P 0x6d 1M 1M", "-c", "read -P 0 2M 1M")
	require.Contains(t, out, "read 1048576/1048576")
	require.NotContains(t, out, "failed")
	data, err := os.ReadFile(top.Path)
	require.NoError(t, err)
	require.NotContains(t, string(data), strings.Repeat("m", 64))
	wrong, err := runIO("--object", "secret,id=k,data=wrong", "--image-opts", node(base.Path, ""), "-c", "read 0 512")
	require.Error(t, err)
	require.Contains(t, string(wrong), "Invalid password")
}

// TestEncryptionRefuses: what can't be is refused before anything is made.
func TestEncryptionRefuses(t *testing.T) {
	m, root := manageWith(t, nil)
	path := filepath.Join(root, "a")
	with := func(e storage.Encryption) storage.CreateSpec {
		return storage.CreateSpec{Path: path, Size: mib, Encryption: &e}
	}
	good := storage.Secret{Value: []byte(passphrase)}
	raw := with(storage.Encryption{Secret: good})
	raw.Format = storage.FormatRaw
	for says, spec := range map[string]storage.CreateSpec{
		"the secret is empty":           with(storage.Encryption{}),
		"Unlock 1µs":                    with(storage.Encryption{Secret: good, Unlock: time.Microsecond}),
		"Unlock 1h0m0s":                 with(storage.Encryption{Secret: good, Unlock: time.Hour}),
		"raw images are not encrypted":  raw,
		`preallocation "metadata" is`:   {Path: path, Size: mib, Format: storage.FormatRaw, Options: storage.Qcow2Options{Preallocation: storage.PreallocationMetadata}},
		"raw images have no cluster":    {Path: path, Size: mib, Format: storage.FormatRaw, Options: storage.Qcow2Options{ClusterSize: 4096}},
		"cluster size 1000":             {Path: path, Size: mib, Options: storage.Qcow2Options{ClusterSize: 1000}},
		`preallocation "some" is none`:  {Path: path, Size: mib, Options: storage.Qcow2Options{Preallocation: "some"}},
		`compression "lzma" is none of`: {Path: path, Size: mib, Options: storage.Qcow2Options{Compression: "lzma"}},
	} {
		_, err := m.Create(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation)
		require.ErrorContains(t, err, says)
	}
	require.NoDirExists(t, root)

	plain, root := manageWith(t, runner(nil))
	_, err := plain.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "a"), Size: mib, Encryption: &storage.Encryption{Secret: good}})
	require.ErrorContains(t, err, "Options.Runner is no FileRunner")
	requireEmpty(t, root)
}

// TestPreallocated: the blocks are there from the start.
func TestPreallocated(t *testing.T) {
	m, root := manage(t)
	for _, c := range []struct {
		format, how string
		whole       bool
	}{
		{storage.FormatQcow2, storage.PreallocationOff, false}, {storage.FormatQcow2, storage.PreallocationMetadata, false},
		{storage.FormatQcow2, storage.PreallocationFalloc, true}, {storage.FormatQcow2, storage.PreallocationFull, true},
		{storage.FormatRaw, storage.PreallocationOff, false}, {storage.FormatRaw, storage.PreallocationFalloc, true},
		{storage.FormatRaw, storage.PreallocationFull, true},
	} {
		img, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, c.format+c.how), Format: c.format, Size: 4 * mib,
			Options: storage.Qcow2Options{Preallocation: c.how}})
		require.NoError(t, err)
		require.Equal(t, c.whole, img.Allocated >= 4*mib, "%v: %d", c, img.Allocated)
		if c.format == storage.FormatQcow2 {
			requireSound(t, img.Path)
		}
	}
}
