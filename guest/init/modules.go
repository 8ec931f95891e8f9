package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// aliasRule says which modules a device needs.
type aliasRule struct {
	pattern string
	paths   []string // in the order of loading, the module itself last
}

// modules loads kernel modules, each once.
type modules struct {
	dir    string
	rules  []aliasRule
	insert func(path string) error

	mu     sync.Mutex
	loaded map[string]bool // module paths and modaliases that are dealt with
}

func newModules(dir string) *modules {
	return &modules{dir: dir, loaded: map[string]bool{}, insert: finitModule}
}

// loadRequired loads what modules.required lists. It goes on after a failure:
// the guest may work without that module, and says so if not.
func (m *modules) loadRequired() {
	text, _ := os.ReadFile(filepath.Join(m.dir, "modules.required"))
	for path := range strings.FieldsSeq(string(text)) {
		m.load(path)
	}
}

func (m *modules) readRules() {
	text, _ := os.ReadFile(filepath.Join(m.dir, "modules.alias"))
	m.rules = parseAliases(string(text))
}

// firstBuses are those with the devices that a guest is started with. The others,
// which are mostly of the ACPI bus, are many, and nobody waits for what they have.
func firstBuses(sys string) []string {
	if entries, _ := os.ReadDir(sys + "/bus/pci/devices"); len(entries) > 0 {
		return []string{"pci", "virtio"}
	}
	return allBuses(sys) // a microvm: its virtio devices come from ACPI
}

func allBuses(sys string) (names []string) {
	entries, _ := os.ReadDir(sys + "/bus")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// loadForDevices loads what the devices of these buses ask for, again and again as
// long as that makes new devices appear: a virtio disk is there only once the
// driver of its PCI function is.
func (m *modules) loadForDevices(sys string, buses []string) {
	for again := len(m.rules) > 0; again; {
		again = false
		for _, bus := range buses {
			for _, alias := range aliasesIn(sys + "/bus/" + bus + "/devices") {
				again = m.loadAlias(alias) || again
			}
		}
	}
}

// loadAlias loads the modules for one device; it returns whether any was new.
func (m *modules) loadAlias(modalias string) (fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded[modalias] {
		return false
	}
	m.loaded[modalias] = true
	for _, rule := range m.rules {
		if !matchAlias(rule.pattern, modalias) {
			continue
		}
		for _, path := range rule.paths {
			fresh = m.load(path) || fresh
		}
	}
	return fresh
}

func (m *modules) load(path string) (fresh bool) {
	if m.loaded[path] {
		return false
	}
	m.loaded[path] = true
	if err := m.insert(path); err != nil && err != syscall.EEXIST {
		say("module " + path + ": " + err.Error())
	}
	return true
}

func parseAliases(text string) (rules []aliasRule) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		rules = append(rules, aliasRule{pattern: words[0], paths: append(words[2:], words[1])})
	}
	return rules
}

// aliasesIn reads the modaliases of the devices in one folder of sysfs.
func aliasesIn(devices string) (aliases []string) {
	dir, err := os.Open(devices)
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if text := readSmall(devices + "/" + name + "/modalias"); text != "" {
			aliases = append(aliases, text)
		}
	}
	return aliases
}

// readSmall reads a file of sysfs without its final newline; "" if it can't.
func readSmall(path string) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer syscall.Close(fd)
	var buf [4096]byte // sysfs answers at most a page
	n, _ := syscall.Read(fd, buf[:])
	return strings.TrimRight(string(buf[:max(n, 0)]), "\n")
}

// finitModule loads an uncompressed module from a file.
func finitModule(path string) error {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var noParams byte
	if _, _, errno := syscall.Syscall(sysFinitModule, uintptr(fd), uintptr(unsafe.Pointer(&noParams)), 0); errno != 0 {
		return errno
	}
	return nil
}
