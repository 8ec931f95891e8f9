package process

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// words runs a quoted command line through a shell and returns what it makes of it.
func words(t *testing.T, quoted string) []string {
	t.Helper()
	// A function stands in for the program, whose name may be quoted as well.
	out, err := exec.Command("/bin/sh", "-c", `printf '%s\0' `+quoted).Output()
	require.NoError(t, err, "%s", quoted)
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestQuote(t *testing.T) {
	argv := []string{"/usr/bin/qemu system", "-name", "guest=web,x", "-append", "a=1 b='c' \"d\" $HOME `id` \\ !", "-device", `{"driver":"x","id":"~/*?[a]"}`,
		"", "-", "--", "~", "=x", "a\nb", "#no", "ü", "a;b&c|d<e>f(g)", "'", "-serial", "chardev:console"}
	quoted := Quote(argv)
	require.Equal(t, argv, words(t, quoted))
	require.Contains(t, quoted, " \\\n  -name guest=web,x", "one option a line")
	require.Equal(t, []string{"A=b", "c"}, words(t, Quote([]string{"A=b", "c"})))
	require.Equal(t, "'A=b' c", Quote([]string{"A=b", "c"}), "no assignment")
	require.Empty(t, Quote(nil))
}

func FuzzQuote(f *testing.F) {
	f.Add("-a", "b c")
	f.Fuzz(func(t *testing.T, a, b string) {
		argv := []string{"qemu", a, b}
		if strings.ContainsRune(a+b, 0) {
			return // no argument has a NUL
		}
		require.Equal(t, argv, words(t, Quote(argv)))
	})
}

// TestCommandLineOfNothing: the zero Config and the zero Capabilities work.
func TestCommandLineOfNothing(t *testing.T) {
	argv, err := CommandLine(vm.Config{Arch: "x86_64"}, Capabilities{})
	require.NoError(t, err)
	require.Equal(t, "qemu-system-x86_64", argv[0])
	require.Equal(t, "q35", valueOf(argv, "-machine"))
	require.Equal(t, "tcg", valueOf(argv, "-accel"))
	require.Equal(t, "kernel", valueOf(argv, "-kernel"))
	require.Equal(t, "guest=vm-00000000", valueOf(argv, "-name"))
	require.Equal(t, argv, words(t, Quote(argv)))
}

// TestCommandLineSaysWhatIsBooted: what the configuration names is there by its name.
func TestCommandLineSaysWhatIsBooted(t *testing.T) {
	for _, c := range []struct {
		boot                   vm.Boot
		kernel, initrd, append string
	}{
		{vm.Boot{}, "kernel", "initrd", "maqet.hostname=vm-00000000 console=ttyS0"},
		{vm.Boot{Kernel: "auto", Cmdline: "quiet x=1"}, "kernel", "initrd", "maqet.hostname=vm-00000000 console=ttyS0 quiet x=1"},
		{vm.Boot{Cmdline: "maqet.hostname=other"}, "kernel", "initrd", "console=ttyS0 maqet.hostname=other"},
		{vm.Boot{Kernel: "/k", Initrd: "/i"}, "/k", "/i", "console=ttyS0"},
		{vm.Boot{Kernel: "/k", Initrd: "none"}, "/k", "", "console=ttyS0"},
	} {
		argv, err := CommandLine(vm.Config{Arch: "x86_64", Boot: c.boot}, Capabilities{})
		require.NoError(t, err)
		require.Equal(t, c.kernel, valueOf(argv, "-kernel"))
		require.Equal(t, c.append, valueOf(argv, "-append"))
		if c.initrd == "" {
			require.NotContains(t, argv, "-initrd")
		} else {
			require.Equal(t, c.initrd, valueOf(argv, "-initrd"))
		}
	}
}

// TestCommandLineWithAnImage: a kernel of the user's has no initrd beside an image, which is
// its root; the one that is found could not reach it.
func TestCommandLineWithAnImage(t *testing.T) {
	for _, c := range []struct {
		boot   vm.Boot
		initrd bool
	}{
		{vm.Boot{Kernel: "/k"}, false},
		{vm.Boot{Kernel: "auto", Cmdline: "quiet root=/dev/vda1"}, false},
		{vm.Boot{Kernel: "auto"}, true},
		{vm.Boot{Kernel: "auto", Files: map[string]string{"/etc/motd": "motd"}}, true},
		{vm.Boot{Kernel: "/k", Initrd: "auto"}, true},
	} {
		argv, err := CommandLine(vm.Config{Boot: c.boot, Disks: []vm.Disk{{Base: "/d.qcow2"}}}, Capabilities{})
		require.NoError(t, err)
		require.Equal(t, c.initrd, slices.Contains(argv, "-initrd"), c.boot)
		require.Contains(t, argv, "-kernel")
	}
}

// TestCommandLineOfEverything: nothing has to be installed to see what would run with it.
func TestCommandLineOfEverything(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	cfg := vm.Config{
		Name: "all", Arch: "x86_64", Boot: vm.Boot{Firmware: "uefi", SecureBoot: true},
		Disks:    []vm.Disk{{Base: "/base.qcow2"}, {Media: vm.MediaCDROM}, {Size: vm.GiB, Interface: "nvme", AIO: vm.AIOURing}},
		Networks: []vm.Network{{Type: vm.NetworkSegment}, {Forwards: []vm.Forward{{Guest: 22}}}},
		Shares:   []vm.Share{{Path: "/srv", Type: vm.Share9p}, {Path: "/srv", Type: vm.ShareVirtiofs}},
		Serials:  []vm.Serial{{File: "/log"}, {Socket: "auto"}}, Display: vm.Display{Type: vm.DisplayVNC},
		RNG: &vm.RNG{}, Balloon: &vm.Balloon{}, Watchdog: &vm.Watchdog{}, TPM: &vm.TPM{}, PVPanic: true,
		CloudInit: &vm.CloudInit{}, FwCfg: []vm.FwCfg{{Name: "opt/com.example/x", Text: "secret"}},
	}
	argv, err := CommandLine(cfg, Capabilities{})
	require.NoError(t, err)
	text := Quote(argv)
	for _, part := range []string{`"filename":"uefi-code"`, `"filename":"uefi-vars"`, `"filename":"images/` + zeroID + `/disk0.qcow2"`,
		`"filename":"images/` + zeroID + `/seed.iso"`, "vhost-user-fs-pci", "tpm-crb", "i6300esb", "smm=on"} {
		require.Contains(t, text, part)
	}
	require.NotContains(t, text, "secret")
	require.Equal(t, argv, words(t, text))
}

func TestCommandLineRefuses(t *testing.T) {
	var bad *errors.ConfigError
	_, err := CommandLine(vm.Config{Memory: 5}, Capabilities{})
	require.ErrorAs(t, err, &bad)
	require.True(t, bad.Has("memory"))
	_, err = CommandLine(vm.Config{Args: []string{"-machine", "pc"}}, Capabilities{})
	require.ErrorAs(t, err, &bad)
	require.True(t, bad.Has("args"))
	h := newHouse(t)
	_, err = h.b.CommandLine(t.Context(), vm.Config{Machine: "q53"})
	require.ErrorAs(t, err, &bad)
	require.True(t, bad.Has("machine"))
	_, err = h.b.CommandLine(t.Context(), vm.Config{Memory: 5})
	require.ErrorAs(t, err, &bad)
}

// TestCommandLineIsTheStarts: what is foretold is what a start runs.
func TestCommandLineIsTheStarts(t *testing.T) {
	h := newHouse(t)
	image := filepath.Join(h.dir, "a,b.raw")
	require.NoError(t, exec.Command("truncate", "-s", "1M", image).Run())
	cfg := vm.Config{
		Name: "web", Memory: 128 * vm.MiB, CPU: vm.CPU{Count: 2},
		Disks:    []vm.Disk{{Path: image, Serial: "S,1"}},
		Networks: []vm.Network{{Name: "lan"}, {MAC: "52:54:00:12:34:56"}},
		Devices:  []vm.Device{{Driver: "virtio-rng-pci"}},
		Args:     []string{"-rtc", "base=utc"},
	}
	spec := specOf(cfg)
	images := filepath.Join(h.dir, "images")
	spec.Images = cfg.PlannedImages(images, spec.ID)
	g := h.launch(spec)
	host, err := h.b.resolve(t.Context(), cfg)
	require.NoError(t, err)

	caps := Capabilities{Binary: host.binary, Arch: host.arch, Machine: host.machine, Accel: host.accel, Sandbox: host.sandbox,
		ID: spec.ID, RuntimeDir: h.b.opts.RuntimeDir, LogDir: h.b.opts.LogDir, ImageDir: images, Boot: &spec.Boot}
	argv, err := CommandLine(cfg, caps)
	require.NoError(t, err)
	require.Equal(t, g.Runtime().Args, argv)
	require.Equal(t, argv, words(t, Quote(argv)))

	foretold, err := h.b.CommandLine(t.Context(), cfg)
	require.NoError(t, err)
	own := func(argv []string) []string { // without what the VM's ID makes
		var out []string
		for _, word := range argv {
			word = strings.ReplaceAll(word, spec.ID, zeroID)
			word = strings.ReplaceAll(word, filepath.Base(h.b.vmDir(spec.ID)), filepath.Base(h.b.vmDir(zeroID)))
			for i := range cfg.Networks {
				word = strings.ReplaceAll(word, guestview.DerivedMAC(spec.ID, i), guestview.DerivedMAC(zeroID, i))
			}
			out = append(out, word)
		}
		return out
	}
	require.Equal(t, own(g.Runtime().Args), own(foretold))
}

func ExampleCommandLine() {
	argv, err := CommandLine(vm.Config{Name: "web", Arch: "x86_64", Memory: vm.GiB, Args: []string{"-rtc", "base=utc"}},
		Capabilities{Machine: "pc-q35-9.2", Accel: "kvm"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range bytes.Lines([]byte(Quote(argv))) {
		if bytes.Contains(line, []byte("-name")) || bytes.Contains(line, []byte("-m ")) || bytes.Contains(line, []byte("-rtc")) {
			fmt.Println(strings.TrimSpace(strings.TrimSuffix(string(line), "\\\n")))
		}
	}
	// Output:
	// -name guest=web
	// -m size=1024M
	// -rtc base=utc
}
