package process

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
)

// generationDriver is the device that tells a guest that it is a copy.
const generationDriver = "vmgenid"

// qboot is a firmware that can't set the device up, and starts no kernel where there is one
// (QEMU, docs/specs/vmgenid.rst: it takes the linker command WRITE_POINTER).
const qboot = "qboot.rom"

// wantedGenerationID returns the guest's generation ID; empty: it has none. Templates have
// one, where they can, for the sake of their forks: the guest's kernel sees that it has
// changed, and takes new random numbers. The default guest's init sees to that itself. A
// fork has one exactly if the machine that was saved had.
func (b *builder) wantedGenerationID() string {
	cfg := b.spec.Config
	wanted := cfg.Template && !b.spec.Boot.Default && filepath.Base(b.spec.Boot.Firmware) != qboot
	if b.spec.Incoming != nil {
		wanted = savedGenerationID(b.spec.Incoming.Fingerprint)
	}
	switch {
	case cfg.GenerationID != "":
		return cfg.GenerationID
	case wanted && (b.host.q35() || b.host.i440fx()) && !usersGenerationID(cfg):
		return vm.GenerationIDAuto
	}
	return ""
}

// savedGenerationID reports whether a machine had the device.
func savedGenerationID(f vm.Fingerprint) bool {
	return slices.ContainsFunc(strings.Split(f.Args, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "-device {") && strings.Contains(line, `"driver":"`+generationDriver+`"`)
	})
}

// usersGenerationID reports whether the configuration has the device by other means. There
// can be but one.
func usersGenerationID(cfg vm.Config) bool {
	return slices.ContainsFunc(cfg.Devices, func(d vm.Device) bool { return d.Driver == generationDriver }) ||
		slices.ContainsFunc(cfg.Args, func(word string) bool { return strings.Contains(word, generationDriver) })
}
