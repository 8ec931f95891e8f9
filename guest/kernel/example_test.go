package kernel_test

import (
	"context"
	"fmt"

	"github.com/maqet/maqet/guest/kernel"
)

func ExampleFind() {
	ctx := context.Background()
	k, err := kernel.Find(ctx, kernel.Options{})
	if err != nil {
		fmt.Println(err) // says which command gets one
		return
	}
	vmlinux, err := k.Vmlinux(ctx)
	if err != nil {
		vmlinux = k.Path // it boots compressed
	}
	fmt.Println(k.Version, k.Modules, vmlinux)
}
