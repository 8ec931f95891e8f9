//go:build linux

package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// module is a kernel module as read from its file.
type module struct {
	name    string   // as the kernel says it: with '_'
	file    string   // path below the folder of the modules, without an ending for compression
	data    []byte   // uncompressed
	depends []string // names
	pre     []string // names that a softdep wants loaded before
	aliases []string // patterns
}

// moduleLimit bounds the uncompressed size of a module.
const moduleLimit = 256 << 20

// endings of module files, by the configuration of the kernel's CONFIG_MODULE_COMPRESS.
var endings = []struct {
	suffix string
	open   func(io.Reader) (io.Reader, error)
}{
	{".ko", func(r io.Reader) (io.Reader, error) { return r, nil }},
	{".ko.xz", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r, xz.DefaultDictMax) }},
	{".ko.zst", func(r io.Reader) (io.Reader, error) {
		// With one goroutine, the caller's, nothing has to be closed.
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}},
	{".ko.gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
}

// moduleName returns the name of the module in a file; false when it is none.
func moduleName(file string) (string, bool) {
	base := path.Base(file)
	for _, e := range endings {
		if name, ok := strings.CutSuffix(base, e.suffix); ok {
			return normalName(name), true
		}
	}
	return "", false
}

// normalName returns the one of a module's two spellings that the kernel uses.
func normalName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readModule reads the module at host, which is file below the folder of the modules.
func readModule(host, file string) (module, error) {
	raw, err := os.ReadFile(host)
	if err != nil {
		return module{}, err
	}
	m := module{}
	for _, e := range endings {
		stem, ok := strings.CutSuffix(file, e.suffix)
		if !ok {
			continue
		}
		r, err := e.open(bytes.NewReader(raw))
		if err == nil {
			m.data, err = io.ReadAll(io.LimitReader(r, moduleLimit))
		}
		if err != nil {
			return module{}, fmt.Errorf("module %s is damaged: %w", host, err)
		}
		m.name, m.file = normalName(path.Base(stem)), stem+".ko"
	}
	if err := m.parse(); err != nil {
		return module{}, fmt.Errorf("module %s is damaged: %w", host, err)
	}
	return m, nil
}

// parse reads the section .modinfo: texts like "alias=virtio:d00000001v*", each
// ended by a zero byte (Linux, include/linux/moduleparam.h).
func (m *module) parse() error {
	f, err := elf.NewFile(bytes.NewReader(m.data))
	if err != nil {
		return err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return errors.New("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return err
	}
	for text := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(text), "=")
		switch key {
		case "alias":
			m.aliases = append(m.aliases, value)
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					m.depends = append(m.depends, normalName(name))
				}
			}
		case "softdep":
			m.pre = append(m.pre, softPre(value)...)
		}
	}
	return nil
}

// softPre returns the names after "pre:" in a softdep (modprobe.d(5)).
func softPre(value string) []string {
	var names []string
	pre := false
	for _, word := range strings.Fields(value) {
		switch word {
		case "pre:":
			pre = true
		case "post:", "platform:":
			pre = false
		default:
			if pre {
				names = append(names, normalName(word))
			}
		}
	}
	return names
}
