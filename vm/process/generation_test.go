package process

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// TestGenerationIDOfTemplates: templates have one where they can and it is of use, and forks
// have what their template had.
func TestGenerationIDOfTemplates(t *testing.T) {
	template := vm.Config{Template: true}
	foreign := vm.BootFiles{Kernel: "/k"}
	having := func(line string) *vm.Incoming { return &vm.Incoming{Fingerprint: vm.Fingerprint{Args: line}} }
	with := having("-smp cpus=1\n-device {\"driver\":\"vmgenid\",\"id\":\"vmgenid\"}")
	without := having("-smp cpus=1\n-append \"driver\":\"vmgenid\"")
	for name, c := range map[string]struct {
		machine string
		cfg     vm.Config
		boot    vm.BootFiles
		in      *vm.Incoming
		want    string
	}{
		"template on q35":           {"q35", template, foreign, nil, vm.GenerationIDAuto},
		"template on pc":            {"pc", template, vm.BootFiles{}, nil, vm.GenerationIDAuto},
		"template on microvm":       {"microvm", template, foreign, nil, ""},
		"template on aarch64":       {"aarch64", template, foreign, nil, ""},
		"the default guest":         {"q35", template, byDefault, nil, ""},
		"qboot":                     {"q35", template, vm.BootFiles{Kernel: "/k", Firmware: "/usr/share/qboot.rom"}, nil, ""},
		"no template":               {"q35", vm.Config{}, foreign, nil, ""},
		"configured":                {"q35", vm.Config{GenerationID: "x"}, byDefault, without, "x"},
		"fork":                      {"q35", vm.Config{}, foreign, with, vm.GenerationIDAuto},
		"fork of one without":       {"q35", vm.Config{}, foreign, without, ""},
		"fork that is to be forked": {"q35", template, foreign, without, ""},
		"the user's device":         {"q35", vm.Config{Template: true, Devices: []vm.Device{{Driver: "vmgenid"}}}, foreign, nil, ""},
		"the user's argument":       {"q35", vm.Config{Template: true, Args: []string{"-device", "vmgenid"}}, foreign, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &builder{spec: vm.LaunchSpec{ID: fixedID, Config: c.cfg, Boot: c.boot, Incoming: c.in}, host: machines[c.machine]}
			require.Equal(t, c.want, b.wantedGenerationID())
		})
	}
}
