package process

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// TestBootFilesFromCommandLine: what was booted follows from the command line, so that a
// guest whose owner died before it could record it can be captured, too.
func TestBootFilesFromCommandLine(t *testing.T) {
	cfg := vm.Config{Name: "web", CloudInit: &vm.CloudInit{}, Networks: []vm.Network{{Type: vm.NetworkSegment}},
		Shares: []vm.Share{{Path: "/", Type: vm.Share9p}}}
	uefi := flashSpec(t, vm.Config{})
	for name, boot := range map[string]vm.BootFiles{
		"default":    byDefault,
		"kernel":     {Kernel: "/k", Initrd: "/i", Cmdline: []string{"quiet"}},
		"from disk":  {},
		"firmware":   {Firmware: "bios.bin"},
		"UEFI":       *bootWith(vm.BootFiles{Kernel: "/k"}, uefi.Boot.UEFI),
		"UEFI alone": *bootWith(vm.BootFiles{}, uefi.Boot.UEFI),
	} {
		t.Run(name, func(t *testing.T) {
			spec := vm.LaunchSpec{ID: fixedID, Config: cfg, Boot: boot, Seed: "/seed,a.iso"}
			if boot.UEFI != nil {
				spec.NVRAM = uefi.NVRAM
			}
			plan, err := build(spec, facts, paths)
			require.NoError(t, err)
			args := plan.commandLine()
			got := bootOf(args, cfg.Name)
			require.Equal(t, spec.NVRAM, nodeFile(args, nodeNVRAM))
			require.Equal(t, spec.Seed, nodeFile(args, seedID+"-file"))

			spec.Boot = got
			again, err := build(spec, facts, paths)
			require.NoError(t, err)
			require.Equal(t, plan.fingerprint(), again.fingerprint(), "the same machine can be made of it")
			require.Equal(t, boot.Default, got.Default)
			require.Subset(t, got.Cmdline, boot.Cmdline)
		})
	}
}

// bootWith adds a UEFI, without what can't be known again.
func bootWith(boot vm.BootFiles, uefi *vm.UEFI) *vm.BootFiles {
	known := *uefi
	known.NVRAM = ""
	boot.UEFI = &known
	return &boot
}
