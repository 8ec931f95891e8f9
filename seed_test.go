package maqet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// odd is a text that would end a value, or begin another, if QEMU parsed it.
const odd = `a,value=b,,"c" ' \ $(id) %s = {x}; über`

// seeded is a configuration with everything that a guest can be told from outside.
func seeded(t *testing.T, dir string) vm.Config {
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	return vm.Config{
		Name: "seed_ed",
		CloudInit: &vm.CloudInit{
			Users: []vm.CloudUser{{Name: "dev", PasswordHashFile: write("hash", "$6$salt$secrethash\n")}},
			Run:   [][]string{{"echo", "on", "12:30", "0644", odd}}, NetworkConfig: write("net,work", "version: 2\n"),
		},
		Ignition: write("ignition,file=x.json", `{"ignition":{}}`),
		FwCfg: []vm.FwCfg{{Name: "opt/org.maqet/text", Text: odd + "\n\tsecrettext"},
			{Name: "opt/org.maqet/file", File: write("binary", "\x00\x01\xff")}},
		SMBIOS: vm.SMBIOS{Manufacturer: "Acme, Inc.", Product: odd, Version: "v=1", Serial: "S,N", SKU: "-k", Family: "f",
			OEMStrings: []string{odd, "io.systemd.credential:a=secretoem", "third"}},
		// An own /dev/vda besides the seed, whose place must not matter.
		Disks: []vm.Disk{{Size: vm.MiB}},
	}
}

// TestSeedAndBlobs has a guest's kernel read all that it is told from outside.
func TestSeedAndBlobs(t *testing.T) {
	dir, files := shortDir(t), t.TempDir()
	m := open(t, dir)
	g, err := m.Run(t.Context(), seeded(t, files))
	require.NoError(t, err)
	seed := filepath.Join(dir, "images", g.ID(), "seed.iso")
	require.FileExists(t, seed)

	run := func(args ...string) string {
		t.Helper()
		res, err := g.Exec(t.Context(), args...)
		require.NoError(t, err)
		return string(res.Stdout)
	}
	t.Run("cloud-init", func(t *testing.T) { checkSeed(t, g, run) })
	t.Run("fw_cfg", func(t *testing.T) {
		run("modprobe", "qemu_fw_cfg")
		const names = "/sys/firmware/qemu_fw_cfg/by_name/opt/"
		require.Equal(t, odd+"\n\tsecrettext", run("cat", names+"org.maqet/text/raw"))
		require.Equal(t, "\x00\x01\xff", run("cat", names+"org.maqet/file/raw"))
		require.Equal(t, `{"ignition":{}}`, run("cat", names+"com.coreos/config/raw"))
	})
	t.Run("SMBIOS", func(t *testing.T) {
		for name, want := range map[string]string{"sys_vendor": "Acme, Inc.", "product_name": odd, "product_version": "v=1",
			"product_serial": "S,N", "product_sku": "-k", "product_family": "f", "product_uuid": g.ID()} {
			require.Equal(t, want+"\n", run("cat", "/sys/class/dmi/id/"+name), name)
		}
		table := run("cat", "/sys/firmware/dmi/tables/DMI")
		require.Contains(t, table, odd+"\x00io.systemd.credential:a=secretoem\x00third\x00\x00", "type 11, its strings in their order")
	})
	t.Run("secrets", func(t *testing.T) { checkSecrets(t, dir, g) })

	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	require.NoFileExists(t, seed)
	require.NoError(t, m.Close())
	requireNothingLeft(t, dir)
}

// checkSeed mounts the seed as cloud-init does, by its label.
func checkSeed(t *testing.T, g *maqet.Machine, run func(args ...string) string) {
	device := run("sh", "-c", `for d in /dev/vd?; do
		if dd if=$d bs=1 skip=32808 count=6 2>/dev/null | grep -q '^cidata$'; then echo $d; fi; done`)
	device = strings.TrimSpace(device)
	require.Regexp(t, `^/dev/vd[a-z]$`, device, "the label stands in one volume descriptor")
	run("modprobe", "isofs")
	run("mkdir", "/seed")
	run("mount", "-t", "iso9660", "-o", "ro", device, "/seed")
	require.Equal(t, "meta-data\nnetwork-config\nuser-data\n", run("ls", "/seed"))
	require.Contains(t, run("cat", "/seed/meta-data"), g.ID())
	require.Contains(t, run("cat", "/seed/meta-data"), `"seed-ed"`, "'_' is in no host name")
	require.Equal(t, "version: 2\n", run("cat", "/seed/network-config"))
	user := run("cat", "/seed/user-data")
	require.True(t, strings.HasPrefix(user, "#cloud-config\n"), user)
	require.Contains(t, user, "$6$salt$secrethash")
	_, err := g.Exec(t.Context(), "sh", "-c", "echo x > "+device)
	require.Error(t, err, "the seed is read-only")
}

// checkSecrets looks for what came from files, and for texts, where others could read it.
func checkSecrets(t *testing.T, dir string, g *maqet.Machine) {
	for pid, line := range processesOf(t, dir) {
		require.NotContains(t, line, "secret", pid)
	}
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	require.NotContains(t, strings.Join(inst.Runtime.Args, " "), "secret")
	for _, name := range []string{"maqet.db", "maqet.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.False(t, bytes.Contains(data, []byte("secrethash")), name)
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() && info.Mode().IsRegular() && (filepath.Ext(path) == ".iso" || filepath.Ext(path) == ".blob") {
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
		}
		return err
	}))
}
