package vm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestLoadConfigPaths: each path is relative to the file that says it, before files merge;
// names that stand in for paths stay.
func TestLoadConfigPaths(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	t.Setenv("HOME", home)
	t.Setenv("IMAGES", "/from/the/environment")
	base := write(t, dir, "base/vm.yaml", `
binary: bin/qemu
boot:
  kernel: ~/kernels/bzImage
  initrd: ${IMAGES}/initrd
  firmware: ./OVMF.fd
  nvram: vars.fd
  modules: ..
  files: {/etc/motd: motd, /etc/issue: /etc/issue}
disks:
  - {name: root, base: "${IMAGES}/debian.qcow2"}
  - {name: data, path: "data $${x}, =.raw"}
networks: [{capture: lan.pcap}]
serials: [{file: port.log}, {name: s, socket: sub/../port.sock}]
display: {type: vnc, password_file: ~/pw}
rng: {source: /dev/hwrng}
ignition: config.ign
fw_cfg: [{name: opt/x, file: x}]
cloud_init:
  user_data: user
  meta_data: meta
  network_config: net
  files: [{path: /etc/x, source: x}]
  users: [{name: ann, password_hash_file: hash}]
`)
	over := write(t, dir, "over/vm.yaml", "disks: [{name: root, serial: R}, {name: swap, path: swap.raw}]\nboot: {nvram: ~}\n")
	cfg, err := vm.LoadUnchecked(vm.LoadOptions{Vars: map[string]string{"IMAGES": "/srv/images"}}, base, over)
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(dir, "base", name) }
	require.Equal(t, in("bin/qemu"), cfg.Binary)
	require.Equal(t, vm.Boot{Kernel: home + "/kernels/bzImage", Initrd: "/srv/images/initrd", Firmware: in("OVMF.fd"), Modules: dir,
		Files: map[string]string{"/etc/motd": in("motd"), "/etc/issue": "/etc/issue"}}, cfg.Boot)
	require.Equal(t, []vm.Disk{{Name: "root", Base: "/srv/images/debian.qcow2", Serial: "R"}, {Name: "data", Path: in("data ${x}, =.raw")},
		{Name: "swap", Path: filepath.Join(dir, "over/swap.raw")}}, cfg.Disks)
	require.Equal(t, in("lan.pcap"), cfg.Networks[0].Capture)
	require.Equal(t, []vm.Serial{{File: in("port.log")}, {Name: "s", Socket: in("port.sock")}}, cfg.Serials)
	require.Equal(t, home+"/pw", cfg.Display.PasswordFile)
	require.Equal(t, "/dev/hwrng", cfg.RNG.Source)
	require.Equal(t, in("config.ign"), cfg.Ignition)
	require.Equal(t, in("x"), cfg.FwCfg[0].File)
	require.Equal(t, vm.CloudInit{UserData: in("user"), MetaData: in("meta"), NetworkConfig: in("net"), Files: []vm.CloudFile{{Path: "/etc/x", Source: in("x")}},
		Users: []vm.CloudUser{{Name: "ann", PasswordHashFile: in("hash")}}}, *cfg.CloudInit)
}

// TestLoadConfigNoPaths: what is no path is not expanded.
func TestLoadConfigNoPaths(t *testing.T) {
	cfg, err := load(t, `
binary: qemu-system-x86_64
boot: {kernel: auto, initrd: none, firmware: uefi, cmdline: "root=~ ${X}"}
args: [-drive, "file=~/x,if=none,id=a", "${HOME}", relative/path]
devices: [{driver: virtio-rng-pci, props: {rng: "~/x", filename: "${X}/y"}}]
labels: {a: ~/x, b: "${X}"}
`)
	require.NoError(t, err)
	require.Equal(t, "qemu-system-x86_64", cfg.Binary)
	require.Equal(t, vm.Boot{Kernel: "auto", Initrd: "none", Firmware: "uefi", Cmdline: "root=~ ${X}"}, cfg.Boot)
	require.Equal(t, []string{"-drive", "file=~/x,if=none,id=a", "${HOME}", "relative/path"}, cfg.Args)
	require.Equal(t, map[string]any{"rng": "~/x", "filename": "${X}/y"}, cfg.Devices[0].Props)
	require.Equal(t, map[string]string{"a": "~/x", "b": "${X}"}, cfg.Labels)
}

func TestLoadConfigVariables(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "vm.yaml", "boot: {kernel: '${DIR}${B}/${DIR}', firmware: '${NAME}'}\n")
	with := func(vars map[string]string) (vm.Config, error) {
		return vm.LoadConfigWith(vm.LoadOptions{Vars: vars}, file)
	}
	cfg, err := with(map[string]string{"DIR": "/~", "B": "${DIR}", "NAME": "uefi"})
	require.NoError(t, err)
	require.Equal(t, "/~${DIR}//~", cfg.Boot.Kernel, "a variable's value is not expanded again")
	require.Equal(t, "uefi", cfg.Boot.Firmware)
	for vars, want := range map[string]string{"": "LoadOptions.Vars", "DIRS NAME B": "did you mean ${DIRS}?", "OTHER B NAME": "declared are B, NAME, OTHER"} {
		declared := map[string]string{}
		for _, v := range strings.Fields(vars) {
			declared[v] = "x"
		}
		_, err := with(declared)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "boot.kernel", bad.Problems[0].Field)
		require.ErrorContains(t, err, want)
	}
}

// TestLoadConfigWithoutHome: ~ needs a home.
func TestLoadConfigWithoutHome(t *testing.T) {
	t.Setenv("HOME", "")
	require.NoError(t, os.Unsetenv("HOME"))
	_, err := load(t, "ignition: ~/x\n")
	require.ErrorContains(t, err, "home is not known")
}

// TestParseConfig: the name is for messages, its folder for paths.
func TestParseConfig(t *testing.T) {
	cfg, err := vm.ParseConfig("/nowhere/inline.yaml", []byte("boot: {kernel: bzImage}"))
	require.NoError(t, err)
	require.Equal(t, "/nowhere/bzImage", cfg.Boot.Kernel)
	_, err = vm.ParseConfig("inline", []byte("memory: lots"))
	require.ErrorContains(t, err, "inline:1:9: memory")
}

// TestLoadConfigLinkedFolder: above a folder that is a link is what is above its target, as
// for a shell and for the kernel; what is in it keeps the name that it was given by.
func TestLoadConfigLinkedFolder(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	write(t, dir, "real/vms/web.yaml", "boot: {kernel: ../bzImage, initrd: initrd.img, modules: x/../../m}\n")
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(dir, "real/vms"), link))
	cfg, err := vm.LoadUnchecked(vm.LoadOptions{}, filepath.Join(link, "web.yaml"))
	require.NoError(t, err)
	require.Equal(t, vm.Boot{Kernel: filepath.Join(dir, "real/bzImage"), Initrd: filepath.Join(link, "initrd.img"), Modules: filepath.Join(dir, "real/m")}, cfg.Boot)
}
