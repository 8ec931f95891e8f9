package vm_test

import (
	"encoding/json"
	"fmt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// A server from a cloud image: an overlay that keeps the image as it is, a disk for
// data, and its SSH port on the host.
func ExampleConfig() {
	cfg := vm.Config{
		Name:   "web",
		CPU:    vm.CPU{Count: 2},
		Memory: 2 * vm.GiB,
		Disks: []vm.Disk{
			{Base: "/srv/images/debian-12.qcow2", Size: 20 * vm.GiB},
			{Name: "data", Size: 100 * vm.GiB, Serial: "data"},
		},
		Networks: []vm.Network{{Forwards: []vm.Forward{{Port: 2222, Guest: 22}}}},
		Lifetime: vm.Persistent,
	}
	if err := cfg.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Name, "is fine")
	// Output: web is fine
}

// All mistakes are reported at once, each with its field and what to do.
func ExampleConfig_Validate() {
	cfg := vm.Config{
		Memory: 512, // bytes!
		Disks:  []vm.Disk{{Path: "disk"}},
	}
	var ce *errors.ConfigError
	if err := cfg.Validate(); errors.As(err, &ce) {
		for _, p := range ce.Problems {
			fmt.Printf("%s %s: %s\n", p.Field, p.Message, p.Fix)
		}
	}
	// Output:
	// memory is less than 1 MiB: the number is in bytes: write 512 * vm.MiB in Go, "512M" in YAML
	// disks[0].format is not given, and the file's ending does not tell: set it to "raw" or "qcow2", to which qemu-img convert turns other formats
}

func ExampleParseSize() {
	size, err := vm.ParseSize("1.5G")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(size == 1536*vm.MiB, size)
	// Output: true 1536M
}

// Sizes and durations are texts in YAML and JSON.
func ExampleConfig_json() {
	var cfg vm.Config
	text := `{"name": "web", "memory": "512M", "timeouts": {"ready": "2m"}}`
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Memory == 512*vm.MiB, cfg.Timeouts.Ready)
	// Output: true 2m0s
}

// A start that fails has the evidence with it.
func ExampleManager_Start() {
	start := func() error { // stands for: _, err := m.VM.Start(ctx, "web")
		return &errors.StartError{VM: "web", Step: vm.StepReady, Stderr: "qemu-system-x86_64: ...",
			Console: "Kernel panic - not syncing: VFS: Unable to mount root fs", Err: errors.ErrGuestPanic}
	}
	err := start()
	var failed *errors.StartError
	if errors.As(err, &failed) {
		fmt.Println("it failed at", failed.Step)
		fmt.Println("the guest printed:", failed.Console)
	}
	if errors.Is(err, errors.ErrGuestPanic) {
		fmt.Println("its kernel panicked")
	}
	// Output:
	// it failed at ready
	// the guest printed: Kernel panic - not syncing: VFS: Unable to mount root fs
	// its kernel panicked
}

// What a state may become is in one table.
func ExampleState_CanBecome() {
	fmt.Println(vm.Stopped.CanBecome(vm.Starting), vm.Running.CanBecome(vm.Starting))
	// Output: true false
}
