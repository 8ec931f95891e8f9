package vm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// seedOf starts a VM and returns what its seed holds.
func seedOf(t *testing.T, b *bench, cfg vm.Config) (vm.Instance, map[string][]byte) {
	t.Helper()
	inst := b.start(t, cfg)
	b.images.mu.Lock()
	defer b.images.mu.Unlock()
	iso := b.images.isos[len(b.images.isos)-1]
	require.Equal(t, "cidata", iso.Label)
	require.Equal(t, filepath.Join(b.dir, "images", inst.ID, "seed.iso"), iso.Path)
	require.Equal(t, iso.Path, b.backend.guest(inst.ID).spec.Seed)
	return inst, iso.Files
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestSeed(t *testing.T) {
	b := newBench(t)
	inst, files := seedOf(t, b, vm.Config{Name: "web_1.example", CloudInit: &vm.CloudInit{
		Users: []vm.CloudUser{
			{Name: "dev", SSHKeys: []string{"ssh-ed25519 AAAA dev@host"}, Groups: []string{"adm", "sudo"}, Sudo: true, PasswordHashFile: file(t, " $y$j9T$salt$hash \nrest")},
			{Name: "plain", Shell: "/bin/sh"}},
		Packages: []string{"nginx"},
		Files: []vm.CloudFile{
			{Path: "/etc/a", Text: "yes: 0644\n'\"\t<über>\n"}, {Path: "/etc/b", Source: file(t, "\x00\xff"), Owner: "dev:dev", Mode: "0600"},
			{Path: "/etc/c", Text: "bell\a"}},
		Run: [][]string{{"echo", "on", "12:30", "- x: y", "#", ""}},
	}})
	require.Len(t, files, 2)
	text, ok := strings.CutPrefix(string(files["user-data"]), "#cloud-config\n")
	require.True(t, ok)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Equal(t, map[string]any{
		"users": []any{"default",
			map[string]any{"name": "dev", "groups": []any{"adm", "sudo"}, "shell": "/bin/bash", "sudo": "ALL=(ALL) NOPASSWD:ALL",
				"ssh_authorized_keys": []any{"ssh-ed25519 AAAA dev@host"}, "lock_passwd": false, "hashed_passwd": "$y$j9T$salt$hash"},
			map[string]any{"name": "plain", "shell": "/bin/sh", "lock_passwd": true}},
		"package_update": true, "packages": []any{"nginx"},
		"write_files": []any{
			map[string]any{"path": "/etc/a", "content": "yes: 0644\n'\"\t<über>\n", "permissions": "0644"},
			map[string]any{"path": "/etc/b", "content": "AP8=", "encoding": "b64", "permissions": "0600", "owner": "dev:dev", "defer": true},
			map[string]any{"path": "/etc/c", "content": "YmVsbAc=", "encoding": "b64", "permissions": "0644"}},
		"runcmd": []any{[]any{"echo", "on", "12:30", "- x: y", "#", ""}},
	}, got)
	var asYAML map[string]any
	require.NoError(t, yaml.Unmarshal(files["user-data"], &asYAML), "it is YAML as well")
	require.Equal(t, got, asYAML)
	require.JSONEq(t, `{"instance-id": "`+inst.ID+`", "local-hostname": "web-1-example"}`, string(files["meta-data"]))

	stored, err := json.Marshal(inst)
	require.NoError(t, err)
	require.NotContains(t, string(stored), "salt")
}

func TestSeedOfFiles(t *testing.T) {
	b := newBench(t)
	for mark, text := range map[string]string{"cloud-config": "#cloud-config\nusers: []\n", "script": "#!/bin/sh\n", "jinja": "## template: jinja\n#cloud-config\n", "gzip": "\x1f\x8b\b\x00"} {
		_, files := seedOf(t, b, vm.Config{Name: mark, CloudInit: &vm.CloudInit{UserData: file(t, text), MetaData: file(t, "m: 1"), NetworkConfig: file(t, "version: 2")}})
		require.Equal(t, map[string][]byte{"user-data": []byte(text), "meta-data": []byte("m: 1"), "network-config": []byte("version: 2")}, files)
	}
	_, files := seedOf(t, b, vm.Config{Name: "empty", CloudInit: &vm.CloudInit{Hostname: "other"}})
	require.Equal(t, "#cloud-config\n{}\n", string(files["user-data"]))
	require.Contains(t, string(files["meta-data"]), `"other"`)
}

// TestSeedLife: the seed is there while the guest lives, and what was forgotten is replaced.
func TestSeedLife(t *testing.T) {
	b := newBench(t)
	secret := file(t, "$6$a$b")
	cfg := vm.Config{Name: "box", Lifetime: vm.Persistent, CloudInit: &vm.CloudInit{Users: []vm.CloudUser{{Name: "u", PasswordHashFile: secret}}}}
	inst := b.start(t, cfg)
	seed := filepath.Join(b.dir, "images", inst.ID, "seed.iso")
	require.FileExists(t, seed)
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.NoFileExists(t, seed)

	require.NoError(t, os.MkdirAll(filepath.Dir(seed), 0o700))
	require.NoError(t, os.WriteFile(seed, []byte("left by a crash"), 0o600))
	require.NoError(t, os.WriteFile(secret, []byte("$6$new$er"), 0o600))
	_, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Contains(t, string(b.images.isos[1].Files["user-data"]), "$6$new$er", "files are read at each start")
	b.backend.guest(inst.ID).end(errors.ExitStatus{Known: true})
	b.await(t, inst.ID)
	require.Eventually(t, func() bool { _, err := os.Stat(seed); return errors.Is(err, os.ErrNotExist) }, 30*time.Second, 5*time.Millisecond)

	require.NoError(t, os.WriteFile(seed, []byte("left by a crash"), 0o600))
	require.NoError(t, b.Remove(t.Context(), inst.ID))
	require.NoFileExists(t, seed)

	b.images.fail = "seed.iso"
	failed := b.add(t, vm.Config{Name: "failed", Disks: []vm.Disk{{Size: vm.MiB}}, CloudInit: &vm.CloudInit{}})
	_, err = b.Start(t.Context(), failed.ID)
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.Zero(t, b.images.count(), "the disk is gone again")
}

func TestSeedOfBadFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 16<<20+1))
	b := newBench(t)
	inst := b.add(t, vm.Config{CloudInit: &vm.CloudInit{
		Users:    []vm.CloudUser{{Name: "a", PasswordHashFile: file(t, "topsecret\n")}, {Name: "b", PasswordHashFile: dir + "/none"}},
		Files:    []vm.CloudFile{{Path: "/a", Source: dir}, {Path: "/b", Source: fifo}, {Path: "/c", Source: large}},
		MetaData: dir + "/meta", NetworkConfig: dir + "/net"}})
	_, err := b.Start(t.Context(), inst.ID)
	var config *errors.ConfigError
	require.ErrorAs(t, err, &config)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	for _, field := range []string{"users[0].password_hash_file", "users[1].password_hash_file", "files[0].source", "files[1].source", "files[2].source", "meta_data", "network_config"} {
		require.True(t, config.Has("cloud_init."+field), "%s in %v", field, err)
	}
	require.Len(t, config.Problems, 7)
	require.NotContains(t, err.Error(), "topsecret")
	for _, says := range []string{"openssl passwd", "no such file", "16 MiB", "not a regular file"} {
		require.ErrorContains(t, err, says)
	}

	inst = b.add(t, vm.Config{CloudInit: &vm.CloudInit{UserData: file(t, "users: []\n")}})
	_, err = b.Start(t.Context(), inst.ID)
	require.ErrorContains(t, err, "cloud_init.user_data")
	require.ErrorContains(t, err, "#cloud-config")
	require.Zero(t, b.images.count(), "nothing was begun")
}

func TestValidateCloudInit(t *testing.T) {
	ok := vm.CloudInit{Hostname: "a.b-c", Users: []vm.CloudUser{{Name: "_a-1", Groups: []string{"sudo"}, Shell: "/bin/sh", SSHKeys: []string{"ssh-rsa AAAA"}}},
		Files: []vm.CloudFile{{Path: "/a b", Mode: "755", Owner: "a:b"}}, Run: [][]string{{"a", ""}}, Packages: []string{"a=1.0"}}
	require.NoError(t, vm.Config{CloudInit: &ok}.Validate())
	for field, c := range map[string]vm.CloudInit{
		"hostname":                    {Hostname: "a_b"},
		"users[0].name":               {Users: []vm.CloudUser{{Name: "Root"}}},
		"users[0].groups[0]":          {Users: []vm.CloudUser{{Name: "a", Groups: []string{"a,b"}}}},
		"users[0].shell":              {Users: []vm.CloudUser{{Name: "a", Shell: "sh"}}},
		"users[0].ssh_keys[0]":        {Users: []vm.CloudUser{{Name: "a", SSHKeys: []string{"-----BEGIN OPENSSH PRIVATE KEY-----"}}}},
		"users[0].ssh_keys[1]":        {Users: []vm.CloudUser{{Name: "a", SSHKeys: []string{"ssh-rsa A", "~/.ssh/id.pub"}}}},
		"users[0].password_hash_file": {Users: []vm.CloudUser{{Name: "a", PasswordHashFile: "a\x00"}}},
		"users[1].name":               {Users: []vm.CloudUser{{Name: "a"}, {Name: "a"}}},
		"users[0]":                    {Users: []vm.CloudUser{{Name: "default"}}},
		"packages[0]":                 {Packages: []string{""}},
		"packages[1]":                 {Packages: []string{"a", "a\nb"}},
		"run[0]":                      {Run: [][]string{{}}},
		"run[1][1]":                   {Run: [][]string{{"a"}, {"a", "\x00"}}},
		"files[0].path":               {Files: []vm.CloudFile{{Path: "etc/a"}}},
		"files[1].path":               {Files: []vm.CloudFile{{Path: "/a"}, {Path: "/a/../b"}}},
		"files[0].source":             {Files: []vm.CloudFile{{Path: "/a", Text: "a", Source: "b"}}},
		"files[0].owner":              {Files: []vm.CloudFile{{Path: "/a", Owner: "a:b:c"}}},
		"files[0].mode":               {Files: []vm.CloudFile{{Path: "/a", Mode: "rw"}}},
		"user_data":                   {UserData: "a", Run: [][]string{{"a"}}},
		"meta_data":                   {MetaData: "a\nb"},
		"network_config":              {NetworkConfig: "a\nb"},
	} {
		err := vm.Config{CloudInit: &c}.Validate()
		var config *errors.ConfigError
		require.ErrorAs(t, err, &config, field)
		require.Len(t, config.Problems, 1, "%v", err)
		require.True(t, config.Has("cloud_init."+field), "%v is not of %s", err, field)
		require.NotEmpty(t, config.Problems[0].Fix)
	}
}

func TestValidateBlobs(t *testing.T) {
	ok := vm.Config{Ignition: "a", FwCfg: []vm.FwCfg{{Name: "opt/a.b/c-d_e", Text: "x\ny"}, {Name: "opt/io.systemd.credentials/a@b:c", File: "f"}}}
	require.NoError(t, ok.Validate())
	for field, c := range map[string]vm.Config{
		"ignition":              {Ignition: "a\nb"},
		"fw_cfg[0].name":        {FwCfg: []vm.FwCfg{{Name: "etc/a", Text: "x"}}},
		"fw_cfg[0]":             {FwCfg: []vm.FwCfg{{Name: "opt/a"}}},
		"fw_cfg[1]":             {FwCfg: []vm.FwCfg{{Name: "opt/a", Text: "x"}, {Name: "opt/b", Text: "x", File: "y"}}},
		"fw_cfg[1].name":        {FwCfg: []vm.FwCfg{{Name: "opt/a", Text: "x"}, {Name: "opt/a", Text: "y"}}},
		"fw_cfg[0].file":        {FwCfg: []vm.FwCfg{{Name: "opt/a", File: "a\nb"}}},
		"smbios.serial":         {SMBIOS: vm.SMBIOS{Serial: "a\nb"}},
		"smbios.oem_strings[1]": {SMBIOS: vm.SMBIOS{OEMStrings: []string{"a", ""}}},
		"smbios.oem_strings":    {SMBIOS: vm.SMBIOS{OEMStrings: strings.Split(strings.Repeat("a,", 255)+"a", ",")}},
	} {
		err := c.Validate()
		var config *errors.ConfigError
		require.ErrorAs(t, err, &config, field)
		require.Len(t, config.Problems, 1, "%v", err)
		require.True(t, config.Has(field), "%v is not of %s", err, field)
	}
	for _, name := range []string{"opt", "opt/", "opt//a", "opt/a/", "opt/../a", "opt/a b", "opt/a,b", "opt/ü", "opt/" + strings.Repeat("a", 52), ""} {
		require.Error(t, vm.Config{FwCfg: []vm.FwCfg{{Name: name, Text: "x"}}}.Validate(), name)
	}
	err := vm.Config{Ignition: "a", FwCfg: []vm.FwCfg{{Name: "opt/com.coreos/config", Text: "x"}}}.Validate()
	require.ErrorContains(t, err, "also the name of ignition")
}
