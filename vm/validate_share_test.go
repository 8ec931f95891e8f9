package vm_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestBadShares: also those of firmware and TPM, which have one or two rules each.
func TestBadShares(t *testing.T) {
	share := func(s ...vm.Share) vm.Config { return vm.Config{Shares: s} }
	for field, configs := range map[string][]vm.Config{
		"shares[0].path": {share(vm.Share{}), share(vm.Share{Path: "a\nb"})},
		"shares[0].type": {share(vm.Share{Path: "/p", Type: "nfs"})},
		"shares[0].name": {share(vm.Share{Path: "/p", Name: strings.Repeat("ü", 19)}), share(vm.Share{Path: "/p", Name: "a/b"}),
			share(vm.Share{Path: "/p", Name: ".."}), share(vm.Share{Path: "/p", Name: "a\x00"}), share(vm.Share{Path: "/p", Name: "a\xff"}),
			share(vm.Share{Path: "/p", Name: strings.Repeat("x", 32), Type: vm.Share9p})},
		"shares[0].mount": {share(vm.Share{Path: "/p", Mount: "mnt"}), share(vm.Share{Path: "/p", Mount: "/"}),
			share(vm.Share{Path: "/p", Mount: "/a/../b"}), share(vm.Share{Path: "/p", Mount: "/a\n"})},
		"shares[0].security": {share(vm.Share{Path: "/p", Security: "some"}),
			share(vm.Share{Path: "/p", Security: "none", Type: vm.ShareVirtiofs})},
		"shares[1].name": {share(vm.Share{Path: "/p", Name: "share1"}, vm.Share{Path: "/q"})},
		"shares[1].mount": {share(vm.Share{Path: "/p", Mount: "/data"}, vm.Share{Path: "/q", Mount: "/data"}),
			share(vm.Share{Path: "/p"}, vm.Share{Path: "/q", Mount: "/mnt/share0"})},
		"boot.secure_boot": {{Boot: vm.Boot{SecureBoot: true}}, {Boot: vm.Boot{SecureBoot: true, Firmware: "qboot"}}},
		"boot.firmware":    {{Boot: vm.Boot{Firmware: "efi"}}, {Boot: vm.Boot{Firmware: "OVMF"}}, {Arch: "aarch64", Boot: vm.Boot{Firmware: "bios"}}, {Arch: "riscv64", Boot: vm.Boot{Firmware: "qboot"}}},
		"boot.nvram":       {{Boot: vm.Boot{NVRAM: "/vars"}}, {Boot: vm.Boot{NVRAM: "a\x00", Firmware: vm.FirmwareUEFI}}},
		"tpm.version":      {{TPM: &vm.TPM{Version: "2"}}},
		"tpm.model":        {{TPM: &vm.TPM{Model: "spi"}}, {TPM: &vm.TPM{Version: vm.TPM12, Model: vm.TPMCRB}}},
	} {
		for _, cfg := range configs {
			err := cfg.Validate()
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad, "%+v", cfg)
			require.True(t, bad.Has(field), "%s in %v", field, err)
			require.Len(t, bad.Problems, 1, "%v", err)
		}
	}
	for _, cfg := range []vm.Config{
		share(vm.Share{Path: "relative, odd"}, vm.Share{Path: "/p", Name: `,=%"' ü`, Mount: "/srv/a b", Writable: true}),
		share(vm.Share{Path: "/p", Name: strings.Repeat("x", 36)}, vm.Share{Path: "/p", Security: "mapped-xattr"}),
		{Boot: vm.Boot{Firmware: vm.FirmwareUEFI, SecureBoot: true, NVRAM: "/vars"}},
		{TPM: &vm.TPM{}},
	} {
		require.NoError(t, cfg.Validate())
	}
}
