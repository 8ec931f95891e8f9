package vm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestHardwareMistakes: each is reported by its field, all of them at once.
func TestHardwareMistakes(t *testing.T) {
	for field, list := range map[string][]vm.Config{
		"rng.source":      {{RNG: &vm.RNG{Source: "a\nb"}}},
		"rng.max_bytes":   {{RNG: &vm.RNG{MaxBytes: -1}}},
		"rng.period":      {{RNG: &vm.RNG{Period: vm.Duration(time.Second)}}, {RNG: &vm.RNG{MaxBytes: 1, Period: 1}}, {RNG: &vm.RNG{MaxBytes: 1, Period: -1}}},
		"watchdog.model":  {{Watchdog: &vm.Watchdog{Model: "diag288"}}},
		"watchdog.action": {{Watchdog: &vm.Watchdog{Action: "bark"}}},
		"vsock.cid":       {{Vsock: &vm.Vsock{CID: 2}}, {Vsock: &vm.Vsock{CID: 1<<32 - 1}}},
		"generation_id":   {{GenerationID: "new"}, {GenerationID: "{324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87}"}, {GenerationID: "324e6eafd1d14bf6bf41b9bb6c91fb87"}},
		"serials":         {{Serials: make([]vm.Serial, vm.MaxSerials+1)}},
		"serials[0].name": {{Serials: []vm.Serial{{Name: "a b"}}}, {Serials: []vm.Serial{{Name: "0a"}}}, {Serials: []vm.Serial{{Name: strings.Repeat("a", 32)}}},
			{Serials: []vm.Serial{{Name: "a,b"}}}, {Serials: []vm.Serial{{Name: "../a"}}}},
		"serials[1].name":   {{Serials: []vm.Serial{{Name: "a"}, {Name: "a"}}}, {Serials: []vm.Serial{{Name: "serial1"}, {}}}},
		"serials[0].type":   {{Serials: []vm.Serial{{Type: "usb"}}}},
		"serials[3].type":   {{Serials: []vm.Serial{{Type: "isa"}, {Type: "isa"}, {Type: "isa"}, {Type: "isa"}}}},
		"serials[0]":        {{Serials: []vm.Serial{{File: "/a", PTY: true}}}, {Serials: []vm.Serial{{File: "/a", Socket: "auto"}}}, {Serials: []vm.Serial{{Socket: "/a", PTY: true}}}},
		"serials[0].file":   {{Serials: []vm.Serial{{File: "/a\x00"}}}},
		"serials[0].socket": {{Serials: []vm.Serial{{Socket: "/a\n"}}}},
		"serials[1].socket": {{Serials: []vm.Serial{{File: "/a"}, {Socket: "/a"}}}},
		"display.type":      {{Display: vm.Display{Type: "gtk"}}},
		"display.adapter":   {{Display: vm.Display{Adapter: "voodoo"}}},
		"display.password_file": {{Display: vm.Display{PasswordFile: "/p"}}, {Display: vm.Display{Type: "none", PasswordFile: "/p"}},
			{Display: vm.Display{Type: "vnc", PasswordFile: "/p\n"}}},
	} {
		for _, cfg := range list {
			err := cfg.Validate()
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad, "%s: %+v", field, cfg)
			require.Len(t, bad.Problems, 1, "%v", err)
			require.Equal(t, field, bad.Problems[0].Field)
			require.NotEmpty(t, bad.Problems[0].Fix)
		}
	}
	var bad *errors.ConfigError
	require.ErrorAs(t, vm.Config{RNG: &vm.RNG{MaxBytes: -1}, Watchdog: &vm.Watchdog{Model: "x", Action: "y"}, GenerationID: "z",
		Serials: []vm.Serial{{Type: "x", Name: "?"}}, Display: vm.Display{Type: "x", Adapter: "y"}}.Validate(), &bad)
	require.Len(t, bad.Problems, 8)
	require.NoError(t, vm.Config{RNG: &vm.RNG{MaxBytes: 1, Period: vm.Duration(time.Millisecond)}, Balloon: &vm.Balloon{}, Watchdog: &vm.Watchdog{},
		Vsock: &vm.Vsock{}, GenerationID: "auto", Serials: []vm.Serial{{}, {Socket: "auto"}, {Socket: "auto"}, {Name: "org.example.log", File: "log"}}}.Validate())
}

// TestAdapterOn: what a display has by default depends on the machine.
func TestAdapterOn(t *testing.T) {
	for _, c := range []struct{ kind, adapter, arch, machine, want string }{
		{"", "", "x86_64", "q35", "none"}, {"none", "", "x86_64", "", "none"}, {"", "cirrus", "x86_64", "", "cirrus"},
		{"vnc", "", "x86_64", "", "std"}, {"vnc", "", "x86_64", "pc-i440fx-7.2", "std"}, {"spice", "", "x86_64", "pc", "qxl"},
		{"vnc", "", "x86_64", "microvm", "virtio"}, {"vnc", "", "aarch64", "virt", "virtio"}, {"spice", "", "riscv64", "virt", "virtio"},
		{"vnc", "none", "x86_64", "", "none"}, {"spice", "std", "x86_64", "", "std"},
	} {
		require.Equal(t, c.want, vm.Display{Type: c.kind, Adapter: c.adapter}.AdapterOn(c.arch, c.machine), "%+v", c)
	}
}

func TestCIDs(t *testing.T) {
	seen := map[uint32]bool{}
	for i := range 1000 {
		id := fmt.Sprintf("%08d-89ab-4cde-8f01-23456789abcd", i)
		cid := vm.Vsock{}.CIDOf(id)
		require.GreaterOrEqual(t, cid, uint32(3))
		require.Less(t, cid, uint32(1<<32-1))
		require.Equal(t, cid, vm.Vsock{}.CIDOf(id), "the same at each start")
		require.False(t, seen[cid])
		seen[cid] = true
	}
	require.Equal(t, uint32(42), vm.Vsock{CID: 42}.CIDOf("x"))
}

// TestTerminalsAreRecorded: they are known when QEMU answers, and recorded by then.
func TestTerminalsAreRecorded(t *testing.T) {
	b := newBench(t)
	b.backend.connect = func(context.Context) error {
		for _, g := range b.backend.guests {
			g.runtime.Terminals = map[string]string{"modem": "/dev/pts/7"}
		}
		return nil
	}
	inst := b.start(t, vm.Config{})
	require.Equal(t, map[string]string{"modem": "/dev/pts/7"}, inst.Runtime.Terminals)
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, inst.Runtime.Terminals, now.Runtime.Terminals)
}

// TestHardwareIsForgotten: a device with a field of its own can be taken out like any other.
func TestHardwareIsForgotten(t *testing.T) {
	b := newBench(t)
	inst := b.add(t, vm.Config{RNG: &vm.RNG{}, Tablet: true, PVPanic: true, Serials: []vm.Serial{{}, {Name: "isa", Type: vm.SerialISA}}})
	for id, want := range map[string]bool{
		vm.DeviceRNG: true, vm.DeviceTablet: true, "serial0": true,
		vm.DeviceBalloon: false, vm.DevicePVPanic: false, "isa": false,
	} {
		known, err := b.ForgetDevice(t.Context(), inst.ID, id)
		require.NoError(t, err)
		require.Equal(t, want, known, id)
	}
	now, err := b.Get(t.Context(), inst.ID)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{vm.DeviceRNG, vm.DeviceTablet, "serial0"}, now.Unplugged)
}
