package vm_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// loadPython loads a file of the Python maqet from a folder that has disk.qcow2 and cd.iso.
func loadPython(t *testing.T, text string) (vm.Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	for _, image := range []string{"disk.qcow2", "data.raw", "cd.iso"} {
		write(t, dir, image, "")
	}
	cfg, err := vm.LoadUnchecked(vm.LoadOptions{}, write(t, dir, "vm.yaml", text))
	return cfg, dir, err
}

// TestPythonFile: a whole file, with what its keys mean.
func TestPythonFile(t *testing.T) {
	cfg, dir, err := loadPython(t, `
name: dev
binary: /usr/bin/qemu-system-x86_64
memory: 4G
cpu: 2
display: none
vga: virtio
storage:
  - {name: hdd, type: qcow2, file: disk.qcow2, size: 20G, interface: sata}
  - {name: new, type: raw, size: 1G}
  - {name: over, backing_file: disk.qcow2, size: 5G}
  - {type: cdrom, file: cd.iso, interface: ide}
  - {type: raw, path: ./data.raw, media: disk, readonly: true}
  - {name: code, type: virtfs, path: ., options: {mount_tag: src, readonly: true, security_model: mapped-xattr}}
  - {name: home, type: virtfs, path: /home}
args: [-rtc, base=utc]
arguments:
  - enable-kvm
  - machine: {type: q35, accel: kvm}
  - smp: {cpus: 2, cores: 2}
  - netdev: {user: ~, id: net0, hostfwd: "tcp::2222-:22"}
  - device: virtio-net-pci,netdev=net0
  - device: {virtio-net-pci: null, netdev: net0, mac: "52:54:00:12:34:56", romfile: "a,b"}
  - device: virtio-rng-pci
  - audiodev: {none: null, id: snd}
  - global: {driver: x, opts: {deep: on, off: true, no: false}}
  - usb
  - chardev: socket,id=c,path=c.sock,server=on
  - qmp: unix:./qmp.sock,server=on
  - k: [en-us, fr]
  - boot: {order: d, menu: [a, b]}
  - nodefaults
`)
	require.NoError(t, err)
	keep := true
	require.Equal(t, vm.Config{
		Name: "dev", Binary: "/usr/bin/qemu-system-x86_64", Memory: 4 * vm.GiB, Machine: "q35", Accel: "kvm",
		CPU: vm.CPU{Count: 2, Cores: 2}, Display: vm.Display{Type: "none", Adapter: "virtio"},
		Disks: []vm.Disk{
			{Name: "hdd", Path: filepath.Join(dir, "disk.qcow2"), Format: "qcow2", Interface: "sata"},
			{Name: "new", Size: vm.GiB, Keep: &keep},
			{Name: "over", Base: filepath.Join(dir, "disk.qcow2"), Format: "qcow2", Keep: &keep},
			{Path: filepath.Join(dir, "cd.iso"), Format: "raw", Media: "cdrom", Interface: "ide"},
			{Path: filepath.Join(dir, "data.raw"), Format: "raw", Media: "disk", ReadOnly: true},
		},
		Shares: []vm.Share{
			{Name: "src", Path: dir, Type: "9p", Security: "mapped-xattr"},
			{Name: "home", Path: "/home", Type: "9p", Security: "passthrough", Writable: true},
		},
		Args: []string{"-rtc", "base=utc",
			"-netdev", "user,id=net0,hostfwd=tcp::2222-:22",
			"-device", "virtio-net-pci,netdev=net0",
			"-device", "virtio-net-pci,netdev=net0,mac=52:54:00:12:34:56,romfile=a,,b",
			"-device", "virtio-rng-pci",
			"-audiodev", "none,id=snd",
			"-global", "driver=x,opts.deep=on,opts.off=on,opts.no=off",
			"-usb",
			"-chardev", "socket,id=c,path=" + filepath.Join(dir, "c.sock") + ",server=on",
			"-qmp", "unix:" + filepath.Join(dir, "qmp.sock") + ",server=on",
			"-k", "en-us,fr",
			"-boot", "order=d,menu.a,menu.b",
		},
	}, cfg)
}

// TestPythonArguments: options that maqet generates itself become fields.
func TestPythonArguments(t *testing.T) {
	dir := func(d, name string) string { return filepath.Join(d, name) }
	readOnly := func(d string) vm.Config {
		return vm.Config{Disks: []vm.Disk{{Path: dir(d, "disk.qcow2"), ReadOnly: true}}}
	}
	for name, c := range map[string]struct {
		text string
		want func(dir string) vm.Config
	}{
		"kernel": {"- kernel: bzImage\n- initrd: ~/initrd\n- append: console=ttyS0 root=/dev/vda1\n", func(d string) vm.Config {
			home, _ := os.UserHomeDir()
			return vm.Config{Boot: vm.Boot{Kernel: dir(d, "bzImage"), Initrd: home + "/initrd", Cmdline: "console=ttyS0 root=/dev/vda1"}}
		}},
		"no initrd": {"- kernel: /bzImage\n", func(string) vm.Config {
			return vm.Config{Boot: vm.Boot{Kernel: "/bzImage", Initrd: "none"}}
		}},
		"bios":           {"- bios: OVMF.fd\n", func(d string) vm.Config { return vm.Config{Boot: vm.Boot{Firmware: dir(d, "OVMF.fd")}} }},
		"m in MiB":       {"- m: 512\n", func(string) vm.Config { return vm.Config{Memory: 512 * vm.MiB} }},
		"m with more":    {"- m: 1G,slots=2,maxmem=4G\n", func(string) vm.Config { return vm.Config{Memory: vm.GiB, MaxMemory: 4 * vm.GiB} }},
		"m as a mapping": {"- m: {size: 2G}\n", func(string) vm.Config { return vm.Config{Memory: 2 * vm.GiB} }},
		"smp":            {"- smp: 4,sockets=2,maxcpus=8\n", func(string) vm.Config { return vm.Config{CPU: vm.CPU{Count: 4, Sockets: 2, Max: 8}} }},
		"cpu":            {"- cpu: host,+vmx\n", func(string) vm.Config { return vm.Config{CPU: vm.CPU{Model: "host,+vmx"}} }},
		"cpu mapping":    {"- cpu: {host: ~, migratable: off}\n", func(string) vm.Config { return vm.Config{CPU: vm.CPU{Model: "host,migratable=off"}} }},
		"M":              {"- M: pc,accel=tcg\n", func(string) vm.Config { return vm.Config{Machine: "pc", Accel: "tcg"} }},
		"accel":          {"- accel: kvm:tcg\n", func(string) vm.Config { return vm.Config{Accel: "auto"} }},
		"no-kvm":         {"- no-kvm\n", func(string) vm.Config { return vm.Config{Accel: "tcg"} }},
		"name":           {"- name: guest=web\n", func(string) vm.Config { return vm.Config{Name: "web"} }},
		"several keys":   {"- machine: q35\n  accel: kvm\n", func(string) vm.Config { return vm.Config{Machine: "q35", Accel: "kvm"} }},
		"nographic":      {"- -nographic\n", func(string) vm.Config { return vm.Config{Display: vm.Display{Type: "none"}} }},
		"display":        {"- display: none\n- vga: qxl\n", func(string) vm.Config { return vm.Config{Display: vm.Display{Type: "none", Adapter: "qxl"}} }},
		"spice-app":      {"- display: spice-app\n", func(string) vm.Config { return vm.Config{Display: vm.Display{Type: "spice"}} }},
		"serial none":    {"- serial: none\n", func(string) vm.Config { return vm.Config{Console: vm.Console{Disabled: true}} }},
		"cdrom":          {"- cdrom: cd.iso\n", func(d string) vm.Config { return vm.Config{Disks: []vm.Disk{{Path: dir(d, "cd.iso"), Media: "cdrom"}}} }},
		"drive": {"- drive: file=disk.qcow2,format=qcow2,if=virtio,readonly=on,cache=none,aio=native,discard=unmap,serial=a,,b\n", func(d string) vm.Config {
			return vm.Config{Disks: []vm.Disk{{Path: dir(d, "disk.qcow2"), Format: "qcow2", Interface: "virtio", ReadOnly: true,
				Cache: "none", AIO: "native", Discard: "unmap", Serial: "a,b"}}}
		}},
		"drive switch":  {"- drive: {readonly: ~, file: disk.qcow2}\n", readOnly},
		"drive switch2": {"- drive: file=disk.qcow2,readonly\n", readOnly},
		"empty value": {"- device: {x: ~, serial: '', deep: {a: '', b: ~}}\n", func(string) vm.Config {
			return vm.Config{Args: []string{"-device", "x,serial=,deep.a=,deep.b"}}
		}},
		"nothing": {"", func(string) vm.Config { return vm.Config{} }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, d, err := loadPython(t, "arguments:\n"+c.text)
			require.NoError(t, err)
			require.Equal(t, c.want(d), cfg)
		})
	}
}

// TestPythonFilesMerge: they merge with each other and with files of maqet's own, and
// loading one again changes nothing.
func TestPythonFilesMerge(t *testing.T) {
	dir := t.TempDir()
	base := write(t, dir, "base.yaml", "memory: 1G\nvga: std\nstorage: [{name: hdd, size: 1G}]\narguments: [{device: virtio-rng-pci}, {device: virtio-rng-pci}]\n")
	over := write(t, dir, "over.yaml", "arguments: [{m: 2G}, {device: virtio-balloon-pci}]\ndisks: [{name: hdd, serial: S}]\ndisplay: {adapter: qxl}\n")
	once, err := vm.LoadUnchecked(vm.LoadOptions{}, base, over)
	require.NoError(t, err)
	keep := true
	require.Equal(t, vm.Config{Memory: 2 * vm.GiB, Display: vm.Display{Adapter: "qxl"}, Disks: []vm.Disk{{Name: "hdd", Size: vm.GiB, Serial: "S", Keep: &keep}},
		Args: []string{"-device", "virtio-rng-pci", "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"}}, once)
	again, err := vm.LoadUnchecked(vm.LoadOptions{}, base, base, over, over)
	require.NoError(t, err)
	require.Equal(t, once, again)
}

// TestPythonProblems: what can't be kept is said, with what to write instead.
func TestPythonProblems(t *testing.T) {
	for text, want := range map[string]string{
		"display: gtk":                                          "VNC viewer",
		"display: teletext":                                     "is not a display",
		"vga: [std]":                                            "is not a graphics adapter",
		"storage: {file: x}":                                    "storage: is not a list",
		"storage: [x]":                                          "storage[0] \"x\": is not a mapping",
		"storage: [{file: [x]}]":                                "storage[0].file: has no single value",
		"storage: [{type: vdi, file: x}]":                       "qemu-img convert",
		"storage: [{file: gone.qcow2}]":                         "does not exist",
		"storage: [{file: ${X}}]":                               "",
		"storage: [{type: virtfs, path: /, id: x}]":             "names its devices itself",
		"storage: [{type: virtfs, path: /, readonly: maybe}]":   "is not a switch",
		"storage: [{type: virtfs, path: /, multidevs: x}]":      "is not a key that maqet understands",
		"arguments: [{serial: stdio}]":                          "serials:",
		"arguments: [S]":                                        "vm.StartPaused",
		"arguments: [{accel: hvf}]":                             "is not an accelerator",
		"arguments: [{accel: 'tcg,thread=multi'}]":              "no field for it",
		"arguments: [{m: '1G,x=y'}]":                            "-m x",
		"arguments: [{smp: '4,dies=2'}]":                        "-smp dies",
		"arguments: [{smp: four}]":                              "is a text, not a number",
		"arguments: [{drive: 'file=x,index=1'}]":                "-drive index",
		"arguments: [{drive: {if: floppy, file: x}}]":           "interface",
		"arguments: [{drive: {format: raw}}]":                   "has no file",
		"arguments: [{name: ''}]":                               "has no value",
		"arguments: [{kernel: ~}]":                              "has no value",
		"arguments: [[device, x]]":                              "is not an option",
		"arguments: [{}]":                                       "is not an option",
		"arguments: [{uuid: x}]":                                "an ID of its own",
		"storage: [{type: virtfs, path: /, options: readonly}]": "is not a mapping",
		"storage: [{type: virtfs, path: /, readonly: true, options: {readonly: false}}]": "says otherwise than the share",
		"storage: [{file: disk.qcow2, path: data.raw}]":                                  "says otherwise than file",
		"display: 'spice-app,gl=on'":                                                     "no such options",
		"arguments: [{drive: 'snapshot,file=disk.qcow2'}]":                               "-drive snapshot",
		"arguments: [{drive: 'file=disk.qcow2,readonly=maybe'}]":                         "-drive readonly",
		"arguments: [{drive: 'file=disk.qcow2,readonly,read-only=off'}]":                 "-drive read-only\": is given twice",
		"arguments: [{drive: 'file=disk.qcow2,cache'}]":                                  "-drive cache",
		"arguments: [{drive: 'file=disk.qcow2,file=data.raw'}]":                          "-drive file\": is given twice",
		"arguments: [{m: '512,size=1G'}]":                                                "-m size\": is given twice",
		"arguments: [{smp: '2,cpus=4'}]":                                                 "-smp cpus\": is given twice",
		"arguments: [{machine: 'q35,type=pc'}]":                                          "-machine type\": is given twice",
		"arguments: [{accel: 'kvm,accel=tcg'}]":                                          "-accel accel\": is given twice",
		"arguments: [{name: 'web,guest=db'}]":                                            "-name guest\": is given twice",
		"arguments: [{device: [virtio-rng-pci, {id: rng}]}]":                             "arguments[0].device[1]: is not a single value",
		"arguments: [{device: {virtio-rng-pci: ~, x: [{id: rng}]}}]":                     "is not a single value",
		"cpu: 2\narguments: [{smp: 4}]":                                                  "says otherwise than line 1",
		"boot: 5\narguments: [{kernel: x}]":                                              "boot \"5\": is a number, not a mapping",
		"disks: 5\nstorage: [{size: 1G}]":                                                "disks \"5\": is a number, not a list",
	} {
		t.Run(text, func(t *testing.T) {
			_, _, err := loadPython(t, text)
			require.Error(t, err)
			require.ErrorContains(t, err, want)
		})
	}
}
