package vm_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// A file for every environment, and one that says what is different in CI.
func ExampleLoadConfig() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	base, ci := filepath.Join(dir, "base.yaml"), filepath.Join(dir, "ci.yaml")
	for file, text := range map[string]string{
		base: "name: web\nmemory: 2G\ndisks:\n  - {name: root, size: 20G}\n  - {name: data, size: 100G}\n",
		ci:   "memory: 1G\ndisks:\n  - {name: root, size: 10G}\n  - {name: data, remove: true}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			fmt.Println(err)
			return
		}
	}
	cfg, err := vm.LoadConfig(base, ci)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Name, cfg.Memory, len(cfg.Disks), cfg.Disks[0].Size)
	// Output: web 1G 1 10G
}

// Every mistake is shown with its line, and with what may have been meant.
func ExampleParseConfig() {
	_, err := vm.ParseConfig("web.yaml", []byte("memroy: 2G\ncpu:\n  count: two\n"))
	fmt.Println(err)
	// Output:
	// configuration: 2 problems
	//   web.yaml:1:1: memroy: is not a known key (did you mean memory?)
	//        1 | memroy: 2G
	//          | ^
	//   web.yaml:3:10: cpu.count "two": is a text, not a number (write a whole number)
	//        3 |   count: two
	//          |          ^
}

// Paths may use variables that the program declares.
func ExampleLoadConfigWith() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "vm.yaml")
	if err := os.WriteFile(file, []byte("disks:\n  - base: ${IMAGES}/debian-12.qcow2\n"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	cfg, err := vm.LoadConfigWith(vm.LoadOptions{Vars: map[string]string{"IMAGES": "/srv/images"}}, file)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Disks[0].Base)
	_, err = vm.LoadConfig(file)
	var bad *errors.ConfigError
	if errors.As(err, &bad) {
		fmt.Println(bad.Problems[0].Field, bad.Problems[0].Line, bad.Problems[0].Message)
	}
	// Output:
	// /srv/images/debian-12.qcow2
	// disks[0].base 2 uses the variable IMAGES, which is not declared
}
