package process

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestTextsAreData puts every nasty text into every field of a Config that holds text, found
// by reflection. Each is refused by a problem that names the field, or the arguments differ
// from those of a plain text by nothing but the text, whole, where the plain one was.
func TestTextsAreData(t *testing.T) {
	needQEMU(t) // for a link to it
	dir := t.TempDir()
	effects := map[string]bool{}
	for n, f := range textFields() {
		t.Run(f.path, func(t *testing.T) {
			exception, _ := withoutReason(f.path)
			for m, name := range slices.Sorted(maps.Keys(nasty)) {
				effect, err := tryText(t, f, filepath.Join(dir, fmt.Sprint(n, "-", m)), nasty[name])
				effects[exception] = effects[exception] || effect
				if err != nil {
					t.Errorf("%s, %q: %v", name, nasty[name], err)
				}
			}
		})
	}
	for name, reason := range without {
		if effects[name] {
			t.Errorf("%s (%s) gets into QEMU's arguments now: delete its exception in without, and give it a site if it needs one", name, reason)
		}
	}
}

// tryText tries one text in one field. effect is true when it gets into the arguments.
func tryText(t *testing.T, f textField, dir, text string) (effect bool, err error) {
	t.Helper()
	name, _ := withoutReason(f.path)
	nastyPlan, value, refusal := planWith(t, f, dir, text)
	if refusal != nil {
		return false, namesField(refusal, f)
	}
	plainPlan, from, refusal := planWith(t, f, dir, "plain")
	switch {
	case refusal != nil && name == "":
		return false, fmt.Errorf("%q is accepted, and %q is refused: %w", value, from, refusal)
	case refusal != nil:
		return false, nil
	}
	if slices.Equal(argv(nastyPlan.args), argv(plainPlan.args)) {
		if name == "" {
			return false, errors.New("the text gets nowhere: give it a site, or a reason in without")
		}
		return false, nil
	}
	if sites[f.path].clean {
		from, value = filepath.Clean(from), filepath.Clean(value)
	}
	return true, sameBut(plainPlan.args, nastyPlan.args, from, value)
}

// planWith builds the arguments of a Config that has the text in one field.
func planWith(t *testing.T, f textField, dir, text string) (plan *builder, value string, refusal error) {
	t.Helper()
	s := sites[f.path]
	value = s.value(dir, text)
	s.place(t, value)
	var cfg vm.Config
	f.set(&cfg, s.item, value)
	if s.rest != nil {
		s.rest(&cfg)
	}
	fill(&cfg)
	if err := cfg.Validate(); err != nil {
		return nil, value, err
	}
	plan, err := build(specFrom(cfg), facts, paths)
	return plan, value, err
}

// fill completes what a Config has for the sake of one text.
func fill(cfg *vm.Config) {
	cfg.Name = cmp.Or(cfg.Name, "vm") // else a random one
	for i := range cfg.Disks {
		if d := &cfg.Disks[i]; !d.HasImage() && d.Size == 0 {
			d.Size = vm.MiB
		}
	}
	for i := range cfg.Devices {
		if cfg.Devices[i].Driver == "" {
			cfg.Devices[i].Driver = "virtio-rng-pci"
		}
	}
	for i := range cfg.Shares {
		s := &cfg.Shares[i]
		s.Path, s.Type = cmp.Or(s.Path, "/"), cmp.Or(s.Type, vm.Share9p) // other ones need a program
	}
	for i := range cfg.FwCfg {
		f := &cfg.FwCfg[i]
		f.Name = cmp.Or(f.Name, fmt.Sprint("opt/", i))
		if f.File == "" {
			f.Text = cmp.Or(f.Text, "text")
		}
	}
	if c := cfg.CloudInit; c != nil {
		for i := range c.Users {
			c.Users[i].Name = cmp.Or(c.Users[i].Name, fmt.Sprint("user", i))
		}
		for i := range c.Files {
			c.Files[i].Path = cmp.Or(c.Files[i].Path, fmt.Sprint("/file", i))
		}
	}
}

// specFrom is what a Manager makes of a Config, without looking for anything.
func specFrom(cfg vm.Config) vm.LaunchSpec {
	spec := specOf(cfg)
	spec.ID = fixedID
	spec.Boot = vm.BootFiles{Kernel: cfg.Boot.Kernel, Initrd: cfg.Boot.Initrd, Firmware: cfg.Boot.Firmware}
	if cfg.Boot.Firmware == vm.FirmwareUEFI {
		spec.Boot.Firmware, spec.Boot.UEFI = "", &vm.UEFI{Code: "OVMF.fd", CodeFormat: vm.FormatRaw, NVRAMFormat: vm.FormatRaw}
		spec.NVRAM = cfg.Boot.NVRAM
	}
	if cfg.Boot.Cmdline != "" {
		spec.Boot.Cmdline = []string{cfg.Boot.Cmdline}
	}
	for i, d := range cfg.Disks {
		img := vm.Image{Name: d.NameAt(i), Path: d.Path + d.Base, Format: vm.FormatRaw, Encrypted: d.KeyFile != ""}
		if img.Path == "" {
			img.Path = "/images/" + strconv.Itoa(i)
		}
		spec.Images = append(spec.Images, img)
	}
	return spec
}

// namesField returns nil if the error is a problem of the field, or of what it is part of.
func namesField(err error, f textField) error {
	var bad *errors.ConfigError
	if !errors.As(err, &bad) {
		return fmt.Errorf("refused by something else than a problem: %w", err)
	}
	want := f.parent(sites[f.path].item)
	for _, p := range bad.Problems {
		if bad.Has(want) || strings.HasPrefix(want, p.Field+".") || strings.HasPrefix(want, p.Field+"[") || strings.HasPrefix(p.Field, want) {
			return nil
		}
	}
	return fmt.Errorf("no problem names %s: %w", want, err)
}

// TestTextFields: the fields are found, at any depth.
func TestTextFields(t *testing.T) {
	var found []string
	for _, f := range textFields() {
		found = append(found, f.path)
		var cfg vm.Config
		f.set(&cfg, 2, "text")
		require.NotEqual(t, vm.Config{}, cfg, f.path)
	}
	for _, path := range []string{"name", "disks[].path", "networks[].forwards[].host", "devices[].props{key}", "devices[].props{value}",
		"labels{key}", "cloud_init.users[].ssh_keys[]", "cloud_init.run[][]", "rng.source", "lifetime"} {
		require.Contains(t, found, path)
	}
	for path := range sites {
		require.Contains(t, found, path, "a site of no field")
	}
	for name := range without {
		require.True(t, slices.ContainsFunc(found, func(path string) bool { n, _ := withoutReason(path); return n == name }), "an exception of no field: %s", name)
	}
}

// TestSameBut: the comparison sees an injection.
func TestSameBut(t *testing.T) {
	json := func(text string) argument {
		return argument{option: "device", value: `{"driver":"x","serial":"` + text + `"}`}
	}
	whole := func(text string) argument { return plain("kernel", "/k/"+text, "") }
	pair := func(text string) argument {
		return argument{option: "chardev", value: "file,id=x,path=" + text}
	}
	for _, form := range []func(string) argument{json, whole, pair} {
		require.NoError(t, sameBut([]argument{form("plain")}, []argument{form("other")}, "plain", "other"))
		require.Error(t, sameBut([]argument{form("plain")}, []argument{form("oth")}, "plain", "other"))
		require.Error(t, sameBut([]argument{form("plain")}, []argument{form("other"), flag("S")}, "plain", "other"))
	}
	require.NoError(t, sameBut([]argument{pair("plain")}, []argument{pair("a,,b")}, "plain", "a,b"))
	require.Error(t, sameBut([]argument{pair("plain")}, []argument{pair("a,b=c")}, "plain", "a,b=c"))
	require.Error(t, sameBut([]argument{pair("plain")}, []argument{pair("a,append=on")}, "plain", "a,append=on"))
	require.Error(t, sameBut([]argument{json("plain")}, []argument{json(`","x":"`)}, "plain", `","x":"`))
}
