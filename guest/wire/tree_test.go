package wire

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// file is an entry with its content.
type file struct {
	Entry
	content string
}

// receiveAll collects a tree in the guest's place.
func receiveAll(to *[]file) func(in *In) error {
	return func(in *In) error {
		for {
			e, err := ReceiveEntry(in)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			var content bytes.Buffer
			if err := in.CopyN(&content, e.Size); err != nil {
				return err
			}
			*to = append(*to, file{e, content.String()})
		}
	}
}

var sampleTime = time.Unix(1_600_000_000, 123_456_789)

func sampleTree() []file {
	random := make([]byte, 3<<20)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(random)
	long := strings.Repeat("long-name/", 30) + "file"
	return []file{
		{Entry{Kind: EntryDir, Name: ".", Mode: 0o700, ModTime: sampleTime}, ""},
		{Entry{Kind: EntryDir, Name: "dir", Mode: 0o755 | fs.ModeSticky, ModTime: sampleTime}, ""},
		{Entry{Kind: EntryFile, Name: "dir/large", Mode: 0o640, ModTime: sampleTime, Size: int64(len(random))}, string(random)},
		{Entry{Kind: EntryFile, Name: "dir/empty", Mode: 0o755 | fs.ModeSetuid, ModTime: sampleTime}, ""},
		{Entry{Kind: EntrySymlink, Name: "link", Link: "../../etc", Mode: 0o777, ModTime: sampleTime}, ""},
		{Entry{Kind: EntryHardLink, Name: "hard", Link: "dir/large", Mode: 0o640, ModTime: sampleTime}, ""},
		{Entry{Kind: EntryFile, Name: long, Mode: 0o600, ModTime: sampleTime, Size: 2}, "ok"},
	}
}

func TestTreeThereAndBack(t *testing.T) {
	want := sampleTree()
	var got []file
	ops := &fakeOps{
		put: receiveAll(&got),
		get: func(to *Out) error {
			for _, f := range want {
				if err := f.Send(to); err != nil {
					return err
				}
				if err := to.CopyN(strings.NewReader(f.content), f.Size); err != nil {
					return err
				}
			}
			return SendEnd(to)
		},
	}
	s := session(t, ops)
	var archive bytes.Buffer
	require.NoError(t, s.GetTree(within(t, 10*time.Second), "/src", &archive))
	require.NoError(t, s.PutTree(within(t, 10*time.Second), "/dst", &archive))
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, want[i].ModTime.Equal(got[i].ModTime), want[i].Name)
		got[i].ModTime = want[i].ModTime
		require.True(t, want[i] == got[i], want[i].Name)
	}
}

func TestPutTreeRefuses(t *testing.T) {
	for name, hdr := range map[string]tar.Header{
		"parent":         {Typeflag: tar.TypeReg, Name: "../x"},
		"hidden parent":  {Typeflag: tar.TypeReg, Name: "a/../../x"},
		"absolute":       {Typeflag: tar.TypeReg, Name: "/etc/passwd"},
		"hard link away": {Typeflag: tar.TypeLink, Name: "x", Linkname: "../../etc/passwd"},
		"device":         {Typeflag: tar.TypeChar, Name: "null"},
		"named pipe":     {Typeflag: tar.TypeFifo, Name: "fifo"},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			tw := tar.NewWriter(&archive)
			require.NoError(t, tw.WriteHeader(&hdr))
			require.NoError(t, tw.Close())
			var got []file
			s := session(t, &fakeOps{put: receiveAll(&got)})
			require.ErrorContains(t, s.PutTree(within(t, 5*time.Second), "/", &archive), hdr.Name)
			s.Close()
			require.Empty(t, got)
		})
	}
}

func TestBrokenTarIsAnErrorOnBothSides(t *testing.T) {
	guest := make(chan error, 1)
	s := session(t, &fakeOps{put: func(in *In) error {
		var got []file
		err := receiveAll(&got)(in)
		guest <- err
		return err
	}})
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	require.NoError(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1000}))
	err := s.PutTree(within(t, 5*time.Second), "/", &archive)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Error(t, <-guest)
}

func TestGuestsErrorStopsTheUpload(t *testing.T) {
	s := session(t, &fakeOps{put: func(*In) error { return fs.ErrPermission }})
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	big := make([]byte, 4*Window)
	require.NoError(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: int64(len(big))}))
	tw.Write(big)
	tw.Close()
	err := s.PutTree(within(t, 5*time.Second), "/", &archive)
	var remote *RemoteError
	require.ErrorAs(t, err, &remote)
}
