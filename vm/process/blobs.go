package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
)

// blob is a text that QEMU reads from a file when it starts, so that others on the host,
// who can see its command line, don't see the text.
type blob struct{ path, text string }

// blobSuffix is how the names of such files end, in the folder of the sockets.
const blobSuffix = ".blob"

// blobFile plans a file with that text and returns its path.
func (b *builder) blobFile(text string) string {
	path := filepath.Join(b.files.dir, strconv.Itoa(len(b.blobTexts))+blobSuffix)
	b.blobTexts = append(b.blobTexts, blob{path, text})
	return path
}

// blobs adds what the guest reads from fw_cfg and SMBIOS.
func (b *builder) blobs() {
	cfg := b.spec.Config
	if cfg.Ignition != "" {
		b.fwCfg("ignition", "ignition", guestview.IgnitionBlob, cfg.Ignition, "")
	}
	for i, f := range cfg.FwCfg {
		field := fmt.Sprintf("fw_cfg[%d]", i)
		b.fwCfg(field, field+".file", f.Name, f.File, f.Text)
	}
	b.smbios()
}

// fwCfg adds one blob, from a file or of a text; QEMU manual, -fw_cfg.
func (b *builder) fwCfg(field, fileField, name, file, text string) {
	if file == "" {
		file = b.blobFile(text)
	} else if err := guestview.RegularFile(file); err != nil {
		b.problem(fileField, file, err.Error(), "give the path of a readable file")
	}
	b.add(keyed("fw_cfg", name, field, "name", name, "file", file))
}

// smbios adds the tables of type 1 and 11; QEMU manual, -smbios.
func (b *builder) smbios() {
	s := b.spec.Config.SMBIOS
	pairs := []string{"type", "1"}
	for _, f := range [][2]string{{"manufacturer", s.Manufacturer}, {"product", s.Product}, {"version", s.Version},
		{"serial", s.Serial}, {"sku", s.SKU}, {"family", s.Family}} {
		if f[1] != "" {
			pairs = append(pairs, f[0], f[1])
		}
	}
	if len(pairs) == 2 && len(s.OEMStrings) == 0 {
		return
	}
	if b.host.arch == "riscv64" || b.host.microvm() {
		b.problem("smbios", "", "can't be had on machine "+b.host.machine, "leave it out, or use fw_cfg")
		return
	}
	if len(pairs) > 2 {
		b.add(keyed("smbios", "", "smbios", pairs...))
	}
	if len(s.OEMStrings) > 0 {
		pairs := []string{"type", "11"}
		for _, text := range s.OEMStrings {
			pairs = append(pairs, "path", b.blobFile(text))
		}
		b.add(keyed("smbios", "", "smbios.oem_strings", pairs...))
	}
}

// writeBlobs makes the planned files, in the VM's own folder. When it fails none is left.
func writeBlobs(blobs []blob) error {
	for i, f := range blobs {
		file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err == nil {
			_, err = file.WriteString(f.text)
			err = errors.Join(err, file.Close())
			i++
		}
		if err != nil {
			for _, made := range blobs[:i] {
				err = errors.Join(err, os.Remove(made.path))
			}
			return err
		}
	}
	return nil
}

// blobNames lists the files that writeBlobs made in a folder.
func blobNames(dir string) []string {
	entries, _ := os.ReadDir(dir) // without the folder there are none
	var names []string
	for _, e := range entries {
		if number, ours := strings.CutSuffix(e.Name(), blobSuffix); ours && !strings.ContainsFunc(number, func(r rune) bool { return r < '0' || r > '9' }) {
			names = append(names, e.Name())
		}
	}
	return names
}
