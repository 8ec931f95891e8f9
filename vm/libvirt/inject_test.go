package libvirt

import (
	"strings"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// xmlNasty has what ends values in XML, JSON and QEMU's options.
const xmlNasty = `a<b/>&amp;"'],,=b]]> <!--ü`

// xmlTexts puts a text wherever a configuration has one that is free.
func xmlTexts(text string) xmlCase {
	return xmlGuest(vm.Config{
		Disks:   []vm.Disk{{Path: "/" + text}},
		Shares:  []vm.Share{{Path: "/", Type: vm.Share9p, Name: text[:min(len(text), 31)]}},
		SMBIOS:  vm.SMBIOS{Manufacturer: text, Product: text, Version: text, Serial: text, SKU: text, Family: text},
		RNG:     &vm.RNG{Source: "/" + text},
		Devices: []vm.Device{{Driver: "usb-mtp", Props: map[string]any{"rootdir": text}}},
		Args:    []string{"-name", text}, FwCfg: []vm.FwCfg{{Name: "opt/x", Text: text}},
	}).with(func(s *vm.LaunchSpec) {
		s.Images[0].Path = "/" + text
		s.Boot = vm.BootFiles{Kernel: "/" + text, Initrd: "/" + text, Cmdline: []string{text}}
	}).on(func(f *facts) { f.blobs["fw_cfg[0]"] = "/" + text })
}

// requireTexts compares what came out with what went in.
func requireTexts(t *testing.T, text string, d *libvirtxml.Domain) {
	t.Helper()
	path := "/" + text
	require.Equal(t, path, d.Devices.Disks[0].Source.File.File)
	require.Equal(t, text[:min(len(text), 31)], d.Devices.Filesystems[0].Target.Dir)
	require.Equal(t, path, d.Devices.RNGs[0].Backend.Random.Device)
	require.Equal(t, path, d.OS.Kernel)
	require.Equal(t, path, d.OS.Initrd)
	require.Equal(t, "console=ttyS0 "+text, d.OS.Cmdline)
	for _, s := range d.SysInfo {
		switch {
		case s.SMBIOS != nil:
			require.Len(t, s.SMBIOS.System.Entry, 6)
			for _, e := range s.SMBIOS.System.Entry {
				require.Equal(t, text, e.Value, e.Name)
			}
		case s.FWCfg != nil:
			require.Equal(t, path, s.FWCfg.Entry[0].File)
		}
	}
	args := d.QEMUCommandline.Args
	require.Equal(t, text, args[len(args)-1].Value)
	device, err := props{"driver": "usb-mtp", "id": "device0", "rootdir": text}.JSON()
	require.NoError(t, err)
	require.Contains(t, args, libvirtxml.DomainQEMUCommandlineArg{Value: device})
}

func TestTextsArriveInLibvirtUnchanged(t *testing.T) {
	l := daemon.Get(t).Connect(t)
	guest := xmlTexts(xmlNasty)
	dom, err := domainOf(guest.spec, guest.host)
	require.NoError(t, err)
	dom.Name, dom.OS.Type.Machine = "xml-nasty", "q35"
	text, err := dom.Marshal()
	require.NoError(t, err)
	made, err := l.DomainDefineXMLFlags(text, 0)
	require.NoError(t, err)
	back, err := l.DomainGetXMLDesc(made, 0)
	require.NoError(t, err)
	require.NoError(t, l.DomainUndefine(made))
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(back))
	requireTexts(t, xmlNasty, &d)
}

// Whatever a text has, it is one value of the domain, or refused by its field.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{xmlNasty, "", "\x00", "\x1b[0m", "a\nb", "\xff", "\uFFFE", "\uFFFD", " a ", "\U0001F600"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return // it means a default
		}
		guest := xmlTexts(text)
		dom, err := domainOf(guest.spec, guest.host)
		var bad *errors.ConfigError
		if errors.As(err, &bad) {
			for _, p := range bad.Problems {
				require.NotEmpty(t, p.Field)
			}
			return
		}
		require.NoError(t, err)
		marshalled, err := dom.Marshal()
		require.NoError(t, err)
		var d libvirtxml.Domain
		require.NoError(t, d.Unmarshal(marshalled))
		requireTexts(t, text, &d)
	})
}

func TestControlCharactersAreRefused(t *testing.T) {
	guest := xmlTexts("a\x01b")
	_, err := domainOf(guest.spec, guest.host)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	for _, field := range []string{"disks[0].path", "shares[0].name", "smbios.sku", "rng.source", "args[1]", "boot.kernel", "boot.cmdline"} {
		require.True(t, bad.Has(field), "%s in %v", field, bad)
	}
}

func TestAliases(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"disk0", "a.b", "a_b", "a_db", "a_ub", "a._b", "a-b", "a__b", "_d", "d"} {
		alias := aliasOf(name)
		require.Regexp(t, `^ua-[A-Za-z0-9_-]+$`, alias)
		require.Empty(t, seen[alias], "%s", name)
		seen[alias] = name
		back, ours := nameOf(alias)
		require.True(t, ours)
		require.Equal(t, name, back)
	}
	_, known := nameOf("virtio-disk0")
	require.False(t, known)
}

func TestOnlyOurDomainsAreOurs(t *testing.T) {
	guest := xmlGuest(vm.Config{})
	dom, err := domainOf(guest.spec, guest.host)
	require.NoError(t, err)
	text, err := dom.Marshal()
	require.NoError(t, err)
	m, err := markOf(text)
	require.NoError(t, err)
	require.Equal(t, xmlID, m.ID)
	require.True(t, m.Default)
	require.False(t, ours(strings.Replace(text, xmlID, strings.ToUpper(xmlID), 1)), "a copy under another ID")
	require.False(t, ours("<domain><uuid>"+xmlID+"</uuid></domain>"))
	require.False(t, ours("<domain"))
	_, err = markOf("<domain/>")
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

// What libvirt says against a domain is in the error.
func TestLibvirtsOwnMessage(t *testing.T) {
	b := lifeBackend(t, daemon.Get(t))
	spec := vm.LaunchSpec{ID: xmlID, Config: vm.Config{Name: "xml-refused", Args: []string{"-no-such-option"}}}
	_, err := b.Launch(lifeWithin(t), spec)
	var said *errors.LibvirtError
	require.ErrorAs(t, err, &said)
	require.Contains(t, said.Message, "no-such-option")
	require.ErrorContains(t, err, "xml-refused")
	require.NotEqual(t, int(libvirt.ErrOk), said.Code)
}
