//go:build linux

package initramfs_test

import (
	"context"
	"fmt"

	"github.com/maqet/maqet/guest/initramfs"
)

func ExampleBuilder_Build() {
	path, err := initramfs.Builder{
		Init:     "/path/to/static/init",
		Modules:  "/lib/modules/6.1.0-9-cloud-amd64",
		Files:    map[string]string{"/usr/bin/tool": "./tool"},
		CacheDir: "/tmp/cache",
	}.Build(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("qemu-system-x86_64 ... -initrd", path)
}
