package storage_test

import (
	"context"
	"fmt"

	"github.com/maqet/maqet/storage"
)

// images is a manager of images below a folder; maqet.Maqet has one as its field Storage.
func images() *storage.Manager {
	m, err := storage.NewManager(storage.Options{Root: "/var/lib/ci/images"})
	if err != nil {
		panic(err)
	}
	return m
}

// A downloaded image is taken over if it has the sum that its publisher states.
func ExampleManager_Import() {
	img, err := images().Import(context.Background(), storage.ImportSpec{
		Source: "/srv/downloads/debian-12.qcow2", Format: storage.FormatQcow2,
		Path:   "/var/lib/ci/images/bases/debian-12.qcow2",
		SHA512: "f5b5…", // 128 hexadecimal digits
	})
	if err != nil {
		fmt.Println(err) // a *storage.SumError says which sum it has instead
		return
	}
	fmt.Println(img.Path, img.Size)
}

// A copy takes neither time nor space where the file system can share blocks.
func ExampleManager_Clone() {
	_, err := images().Clone(context.Background(), storage.CloneSpec{
		Source: "/var/lib/ci/images/bases/debian-12.qcow2", Format: storage.FormatQcow2,
		Path: "/var/lib/ci/images/bases/debian-12-patched.qcow2",
	})
	fmt.Println(err)
}

// A disk and all that it stands on become one compressed file, and the user sees how far it is.
func ExampleManager_Convert() {
	_, err := images().Convert(context.Background(), storage.ConvertSpec{
		Source: "/var/lib/ci/images/build/disk0.qcow2", Format: storage.FormatQcow2,
		Path:     "/var/lib/ci/images/release.qcow2",
		Compress: true, Qcow2: storage.Qcow2Options{Compression: storage.CompressionZstd},
		Progress: func(done, total int64) { fmt.Printf("\r%d%%", 100*done/max(total, 1)) },
	})
	fmt.Println(err)
}
