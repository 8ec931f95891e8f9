package process

import (
	"context"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/internal/viewer"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

const secret = "Geheim,1"

func passwordFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// TestDisplays: a client of each kind gets in with the right password only, or without one
// where none is asked for, also after it was changed.
func TestDisplays(t *testing.T) {
	h := newHouse(t)
	for kind, login := range map[string]func(ctx context.Context, socket, password string) error{
		vm.DisplayVNC: viewer.VNC, vm.DisplaySpice: viewer.Spice,
	} {
		t.Run(kind, func(t *testing.T) {
			h := &house{t: t, b: h.b, dir: h.dir}
			if kind == vm.DisplaySpice {
				lacks, err := h.b.prober.spice(t.Context(), "qemu-system-x86_64")
				require.NoError(t, err)
				testhost.Needs(t, "QEMU's spice", lacks)
			}
			g, spec := h.running(vm.Config{Display: vm.Display{Type: kind, PasswordFile: passwordFile(t, secret+"\r\nnot this\n")}})
			socket := g.Runtime().Sockets[kind]
			info, err := os.Stat(socket)
			require.NoError(t, err)
			require.Equal(t, os.ModeSocket|0o600, info.Mode())
			require.NoError(t, login(patient(t), socket, secret))
			require.ErrorIs(t, login(patient(t), socket, "wrong"), viewer.ErrRefused)
			require.ErrorIs(t, login(patient(t), socket, ""), viewer.ErrRefused)

			m := qmp.NewManager(only{g})
			require.NoError(t, m.SetDisplayPassword(patient(t), "vm", kind, "other"))
			require.ErrorIs(t, login(patient(t), socket, secret), viewer.ErrRefused)
			require.NoError(t, login(patient(t), socket, "other"))

			again, err := h.open().Attach(patient(t), record(spec, g))
			require.NoError(t, err)
			require.NoError(t, again.Release())
			require.NoError(t, login(patient(t), socket, "other"), "who attaches leaves it alone")
			for _, arg := range g.Runtime().Args {
				require.NotContains(t, arg, "eheim")
			}
			free, _ := h.running(vm.Config{Display: vm.Display{Type: kind}})
			require.NoError(t, login(patient(t), free.Runtime().Sockets[kind], ""))
		})
	}
}

// only finds one guest.
type only struct{ g *guest }

func (o only) QMP(context.Context, string) (qmp.Conn, error) { return o.g.QMP(), nil }

// TestNoPasswordYet: from QEMU's start until the password is set nobody gets in.
func TestNoPasswordYet(t *testing.T) {
	h := newHouse(t)
	g := h.launch(specOf(vm.Config{Display: vm.Display{Type: vm.DisplayVNC, PasswordFile: passwordFile(t, secret)}}))
	require.NoError(t, g.control.connect(patient(t))) // what Connect does first
	socket := g.Runtime().Sockets[vm.DisplayVNC]
	require.ErrorIs(t, viewer.VNC(patient(t), socket, ""), viewer.ErrRefused)
	require.ErrorIs(t, viewer.VNC(patient(t), socket, secret), viewer.ErrRefused)
	require.NoError(t, g.Connect(patient(t)))
	require.NoError(t, viewer.VNC(patient(t), socket, secret))
}

// TestPasswordFiles: what is no password is said before QEMU is started, without saying it.
func TestPasswordFiles(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct{ kind, path, says string }{
		"missing":      {vm.DisplayVNC, filepath.Join(h.dir, "no"), "no such file"},
		"folder":       {vm.DisplayVNC, h.dir, "regular file"},
		"empty":        {vm.DisplayVNC, passwordFile(t, ""), "is empty"},
		"empty line":   {vm.DisplaySpice, passwordFile(t, "\nx"), "is empty"},
		"long":         {vm.DisplayVNC, passwordFile(t, "Geheimnis"), "has 9 bytes, vnc takes 8"},
		"longer":       {vm.DisplaySpice, passwordFile(t, strings.Repeat("Geheim", 11)), "has 66 bytes, spice takes 60"},
		"without ends": {vm.DisplaySpice, passwordFile(t, strings.Repeat("Geheim", 1000)), "spice takes 60"},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.b.Check(t.Context(), fixedID, vm.Config{Display: vm.Display{Type: c.kind, PasswordFile: c.path}})
			requireProblem(t, err, "display.password_file")
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "eheim")
		})
	}
}

// TestAdapters: each graphics card of each machine has a screen, on the PC's with what the
// firmware writes there.
func TestAdapters(t *testing.T) {
	h := newHouse(t)
	for machine, adapters := range map[string][]string{
		"q35":     {vm.AdapterStd, vm.AdapterVirtio, vm.AdapterQXL, vm.AdapterCirrus, vm.AdapterRAMFB},
		"microvm": {vm.AdapterVirtio, vm.AdapterRAMFB},
		"virt":    {vm.AdapterStd, vm.AdapterVirtio, vm.AdapterRAMFB},
	} {
		for _, adapter := range adapters {
			t.Run(machine+" "+adapter, func(t *testing.T) {
				cfg := vm.Config{Machine: machine, Display: vm.Display{Adapter: adapter}}
				if machine == "virt" {
					cfg.Arch = "aarch64"
					_, err := h.b.prober.features(t.Context(), "/usr/bin/qemu-system-aarch64")
					testhost.Needs(t, "QEMU for aarch64", err)
				}
				g, _ := (&house{t: t, b: h.b, dir: h.dir}).running(cfg)
				require.NoError(t, g.Continue(t.Context()))
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				img, err := qmp.NewManager(only{g}).WaitScreen(ctx, "vm", func(img image.Image) bool {
					return machine != "q35" || lit(img) > 100
				})
				require.NoError(t, err)
				size := img.Bounds().Size()
				require.True(t, size.X >= 640 && size.X <= 1920 && size.Y >= 400 && size.Y <= 1200, "%v", size)
			})
		}
	}
}

// lit counts the pixels that are not black.
func lit(img image.Image) (n int) {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if r, g, b, _ := img.At(x, y).RGBA(); r|g|b != 0 {
				n++
			}
		}
	}
	return n
}
