package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// keyedDisks are a plain disk, an encrypted one, and one over an encrypted base that stands on
// a plain one.
func keyedDisks(key string) vm.LaunchSpec {
	return vm.LaunchSpec{ID: fixedID, Config: vm.Config{Name: "golden", Disks: []vm.Disk{
		{Name: "plain", Size: vm.MiB}, {Name: "own", Size: vm.MiB, KeyFile: key}, {Name: "over", Base: "middle.qcow2", KeyFile: key},
	}}, Images: []vm.Image{
		{Name: "plain", Path: "/images/plain", Format: vm.FormatQcow2},
		{Name: "own", Path: "/images/own", Format: vm.FormatQcow2, Encrypted: true},
		{Name: "over", Path: "/images/over", Format: vm.FormatQcow2, Encrypted: true, Bases: []storage.Image{
			{Path: "/images/middle", Format: vm.FormatQcow2, Encrypted: true}, {Path: "/images/lowest", Format: vm.FormatRaw}}},
	}}
}

func TestKeyedDisksArgv(t *testing.T) {
	spec := keyedDisks("/keys/a,b")
	require.NoError(t, spec.Config.Validate())
	golden(t, "keyed-disks", spec)

	spec.Config.Disks[2].KeyFile = ""
	_, err := build(spec, facts, paths)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.True(t, bad.Has("disks[2].key_file"), err)
}

// TestQEMUOpensKeyedDisks: QEMU opens each image with its key, those below as well, and the
// key is not on its command line. With a wrong key it does not start.
func TestQEMUOpensKeyedDisks(t *testing.T) {
	h := newHouse(t)
	const passphrase = "open, sesame"
	dir := filepath.Join(h.dir, "images")
	key := filepath.Join(h.dir, "key,=")
	require.NoError(t, os.WriteFile(key, []byte(passphrase), 0o600))
	spec := keyedDisks(key)
	images, err := storage.NewManager(storage.Options{Root: dir})
	require.NoError(t, err)
	encryption := &storage.Encryption{Secret: storage.Secret{File: key}, Unlock: time.Millisecond}
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, e := range map[string]*storage.Encryption{"plain": nil, "own": encryption} {
		_, err = images.Create(t.Context(), storage.CreateSpec{Path: at(name), Size: 1 << 20, Encryption: e})
		require.NoError(t, err)
	}
	_, err = images.Create(t.Context(), storage.CreateSpec{Path: at("lowest"), Size: 1 << 20, Format: storage.FormatRaw})
	require.NoError(t, err)
	for _, o := range []storage.OverlaySpec{
		{Path: at("middle"), Base: at("lowest"), BaseFormat: storage.FormatRaw, Encryption: encryption},
		{Path: at("over"), Base: at("middle"), BaseFormat: storage.FormatQcow2, Encryption: encryption},
	} {
		_, err = images.Overlay(t.Context(), o)
		require.NoError(t, err)
	}
	for i := range spec.Images {
		img := &spec.Images[i]
		img.Path = at(filepath.Base(img.Path))
		for n := range img.Bases {
			img.Bases[n].Path = at(filepath.Base(img.Bases[n].Path))
		}
	}
	g := h.launch(spec)
	require.NoError(t, g.Connect(patient(t)))
	open := map[string]bool{}
	for _, n := range ask[[]struct {
		File      string
		Driver    string `json:"drv"`
		Encrypted bool
	}](t, g, "query-named-block-nodes", map[string]bool{"flat": true}) {
		if n.Driver == vm.FormatQcow2 || n.Driver == vm.FormatRaw {
			open[filepath.Base(strings.TrimRight(n.File, `"}`))] = n.Encrypted // which may be in JSON
		}
	}
	require.Equal(t, map[string]bool{"plain": false, "own": true, "over": true, "middle": true, "lowest": false}, open)
	for _, word := range g.runtime.Args {
		require.NotContains(t, word, passphrase)
	}
	h.end(g, spec)

	require.NoError(t, os.WriteFile(key, []byte("wrong"), 0o600))
	again, err := h.b.Launch(t.Context(), spec)
	if err == nil {
		err = again.Connect(patient(t))
		h.end(again.(*guest), spec)
	}
	require.Error(t, err)
	require.Contains(t, strings.ToLower(err.Error()), "invalid password")
}
