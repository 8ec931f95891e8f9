package process

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// TestForkContinues saves the state of a guest and goes on with it in others, each for itself.
// QEMU maps memory that nobody can write to privately.
func TestForkContinues(t *testing.T) {
	for name, change := range map[string]func(*vm.LaunchSpec){
		"q35":     func(*vm.LaunchSpec) {},
		"microvm": func(s *vm.LaunchSpec) { s.Config.Machine = "microvm" },
		// The default guest without its streams has a generation ID as others have.
		"pc with a generation ID": func(s *vm.LaunchSpec) { s.Boot.Default, s.Boot.Firmware = false, "" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			cfg := vm.Config{Template: true, Memory: 192 * vm.MiB, Networks: []vm.Network{{}, {Type: vm.NetworkSegment}}}
			if strings.HasPrefix(name, "pc") {
				cfg.Machine = "pc"
			}
			spec := bootSpec(t, cfg)
			change(&spec)
			template := h.booted(spec)
			template.write("/run/who", "template")
			s := h.capture(template, spec)
			require.NotNil(t, s.Memory)
			seals, err := unix.FcntlInt(s.Memory.Fd(), unix.F_GET_SEALS, 0)
			require.NoError(t, err)
			require.NotZero(t, seals&unix.F_SEAL_WRITE)
			require.Equal(t, cfg.Machine == "pc", strings.Contains(s.Fingerprint.Args, generationDriver))

			one, two := h.fork(s), h.fork(s)
			require.Equal(t, "template", one.read("/run/who"))
			one.write("/run/who", "one")
			two.write("/run/who", "two")
			require.Equal(t, "one", one.read("/run/who"))
			require.Equal(t, "two", two.read("/run/who"))
			require.Equal(t, "template", h.fork(s).read("/run/who"), "the template is as it was")

			h.requireOwnCards(spec, one, two)
			ram, err := one.Memory()
			require.NoError(t, err)
			require.Nil(t, ram, "what a fork writes is its own, and in no file")
			print, err := one.Fingerprint(t.Context(), vm.Instance{})
			require.NoError(t, err)
			require.Equal(t, s.Fingerprint, print, "a fork of a fork is the same machine")
			h.requireRefusals(s)
		})
	}
}

// requireOwnCards: forks have addresses of their own, and their records say so.
func (h *house) requireOwnCards(template vm.LaunchSpec, forks ...*agentGuest) {
	h.t.Helper()
	seen := map[string]bool{}
	for _, c := range guestview.CardRecords(template.Config, nil, template.ID) {
		seen[c.MAC] = true
	}
	for _, f := range forks {
		cards := f.Runtime().Cards
		require.Len(h.t, cards, 2)
		require.Empty(h.t, cards[0].Address, "on user networks all have the same")
		require.Regexp(h.t, `^10\..*/16$`, cards[1].Address)
		for _, c := range cards {
			require.False(h.t, seen[c.MAC], "%s was given twice", c.MAC)
			seen[c.MAC] = true
		}
	}
}

// requireRefusals: other machines, and memory that is not the template's, are refused before
// anything is started.
func (h *house) requireRefusals(s saved) {
	h.t.Helper()
	for says, change := range map[string]func(*vm.LaunchSpec){
		"cpus=2":        func(spec *vm.LaunchSpec) { spec.Config.CPU.Count = 2 },
		"size=320M":     func(spec *vm.LaunchSpec) { spec.Config.Memory = 320 * vm.MiB },
		"it would have": func(spec *vm.LaunchSpec) { spec.Config.RNG = &vm.RNG{} },
		"QEMU was":      func(spec *vm.LaunchSpec) { spec.Incoming.Fingerprint = vm.Fingerprint{QEMU: "none"} },
		"bytes":         func(spec *vm.LaunchSpec) { spec.Incoming.Memory = tempMemory(h.t, 4096) },
	} {
		spec := s.forkSpec()
		in := *spec.Incoming
		spec.Incoming = &in
		change(&spec)
		_, err := h.b.Launch(h.t.Context(), spec)
		require.ErrorIs(h.t, err, errors.ErrTemplateMismatch, says)
		require.ErrorContains(h.t, err, says)
		require.NoDirExists(h.t, h.b.vmDir(spec.ID))
	}
}

// TestCaptureFromElsewhere: another process, which has only the record or not even that, finds
// the memory of a guest and says which machine it is.
func TestCaptureFromElsewhere(t *testing.T) {
	h := newHouse(t)
	spec := specOf(vm.Config{Template: true, Networks: []vm.Network{{}}, CPU: vm.CPU{Count: 2}})
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	want, err := g.Fingerprint(t.Context(), record(spec, g))
	require.NoError(t, err)
	host, err := h.b.resolve(t.Context(), spec.Config)
	require.NoError(t, err)
	plan, err := build(spec, host, h.b.files(spec.ID))
	require.NoError(t, err)
	require.Equal(t, plan.fingerprint(), want, "what was foretold is what runs")

	other := h.open()
	unrecorded := record(spec, g)
	unrecorded.Runtime = vm.Runtime{}
	for _, inst := range []vm.Instance{record(spec, g), unrecorded} {
		found, err := other.Attach(t.Context(), inst)
		require.NoError(t, err)
		got, err := found.(vm.Capturer).Fingerprint(t.Context(), inst)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, g.Runtime().Cards, found.Runtime().Cards)
		ram, err := found.(vm.Capturer).Memory()
		require.NoError(t, err)
		info, err := ram.Stat()
		require.NoError(t, err)
		require.EqualValues(t, vm.DefaultMemory, info.Size())
		require.NoError(t, ram.Close())
		require.NoError(t, found.Release())
	}
	require.NoError(t, other.Close())

	require.NoError(t, g.proc.signal(unix.SIGKILL))
	gone(t, g.Done())
	_, err = g.Memory()
	require.ErrorIs(t, err, errors.ErrBackend)
	_, err = g.Fingerprint(t.Context(), record(spec, g))
	require.ErrorIs(t, err, errors.ErrBackend)
}

// TestMemoryIsNotWhatItSays: what the command line names as the guest's memory is looked at.
func TestMemoryIsNotWhatItSays(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(vm.Config{})
	ram, err := g.Memory()
	require.NoError(t, err)
	require.Nil(t, ram, "it is QEMU's own affair")
	for _, object := range []ramObject{{Path: ownFD + "0", Size: 1}, {Path: ownFD + "3", Size: 0}, {Path: ownFD + "999"}, {Path: ownFD + "../cwd"}} {
		_, err := g.openRAM(object)
		require.Error(t, err, object)
	}
}

// TestStateFitsOtherMemory: a state that has the memory with it can be loaded into guests
// whose memory is laid out differently, because it has the same name.
func TestStateFitsOtherMemory(t *testing.T) {
	h := newHouse(t)
	spec := bootSpec(t, vm.Config{Memory: 128 * vm.MiB, Boot: vm.Boot{Kernel: "auto", Initrd: "auto"},
		Disks: []vm.Disk{{Path: h.imageFor("disk"), Format: vm.FormatRaw, ReadOnly: true}}})
	plain := h.booted(spec)
	plain.write("/run/who", "plain")
	s := h.capture(plain, spec)
	require.Nil(t, s.Memory)
	require.Equal(t, "plain", h.fork(s).read("/run/who"))

	next := s.forkSpec()
	next.Config.Template = true
	template := h.launch(next)
	require.NoError(t, template.Connect(patient(t)))
	h.load(template, s)
	require.NoError(t, template.Continue(patient(t)))
	again := h.capture(h.agent(template), next)
	require.NotNil(t, again.Memory)
	require.Equal(t, "plain", h.fork(again).read("/run/who"))
}

// TestForkReboots: what a fork was booted from is there still.
func TestForkReboots(t *testing.T) {
	h := newHouse(t)
	spec := bootSpec(t, vm.Config{Machine: "microvm", Template: true, Memory: 128 * vm.MiB})
	template := h.booted(spec)
	template.write("/run/who", "template")
	f := h.fork(h.capture(template, spec))
	resets := f.control.Subscribe(qapi.EventReset)
	defer resets.Close()
	ask[struct{}](t, f, "system_reset", nil)
	<-resets.C()
	require.NoError(t, f.conn.Close())
	f = h.agent(f.guest)
	require.NotNil(t, f.try("guest-file-open", map[string]any{"path": "/run/who", "mode": "r"}, nil), "it was made before")
}

// tempMemory is memory of a size.
func tempMemory(t testing.TB, size vm.Size) *os.File {
	t.Helper()
	f, err := (&builder{}).openRAM(size)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}
