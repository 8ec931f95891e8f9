package process

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestForkContinues saves the state of a guest and goes on with it in others, each for itself.
func TestForkContinues(t *testing.T) {
	for _, machine := range []string{"q35", "microvm"} {
		t.Run(machine, func(t *testing.T) {
			h := newHouse(t)
			cfg := vm.Config{Machine: machine, Template: true, Memory: 192 * vm.MiB, Networks: []vm.Network{{}, {Type: vm.NetworkSegment}}}
			spec := bootSpec(t, cfg)
			template := h.booted(spec)
			template.write("/run/who", "template")
			s := h.capture(template, spec)
			require.NotNil(t, s.Memory)
			seals, err := unix.FcntlInt(s.Memory.Fd(), unix.F_GET_SEALS, 0)
			require.NoError(t, err)
			require.NotZero(t, seals&unix.F_SEAL_WRITE, "QEMU has to take memory that can't be written")

			one, two := h.fork(s), h.fork(s)
			require.Equal(t, "template", one.read("/run/who"))
			one.write("/run/who", "one")
			two.write("/run/who", "two")
			require.Equal(t, "one", one.read("/run/who"))
			require.Equal(t, "two", two.read("/run/who"))
			require.Equal(t, "template", h.fork(s).read("/run/who"), "the template is as it was")
			require.NotEqual(t, one.Runtime().Cards, two.Runtime().Cards)

			ram, err := one.Memory()
			require.NoError(t, err)
			require.Nil(t, ram, "what a fork writes is its own, and in no file")

			other := s.forkSpec()
			other.Config.CPU.Count = 2
			_, err = h.b.Launch(t.Context(), other)
			require.ErrorIs(t, err, errors.ErrTemplateMismatch)
			require.ErrorContains(t, err, "cpus=2")
		})
	}
}
